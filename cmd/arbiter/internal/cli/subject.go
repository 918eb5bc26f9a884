package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// maxSubjectBytes bounds a subject document in a file.
const maxSubjectBytes = 1 << 20

func (a *app) subjectCommand() *cobra.Command {
	return noun("subject", "Customers: what is known about them, their consents, their history",
		`  arbiter subject get S-000123
  arbiter subject put S-9 --set tenure=12 --set contract="Two year" --grant marketing
  arbiter subject consents S-000123 --grant marketing --refuse channel:sms
  arbiter subject history S-000123
  arbiter subject import customers.csv --mapping mapping.yaml`,
		a.subjectGetCommand(), a.subjectPutCommand(), a.subjectPatchCommand(), a.subjectDeleteCommand(),
		a.subjectConsentsCommand(), a.subjectContactsCommand(), a.subjectJourneysCommand(), a.subjectAggregatesCommand(), a.subjectHistoryCommand(), a.subjectImportCommand(), a.subjectAttributesCommand())
}

// subjectFlags are shared by the commands on one subject.
type subjectFlags struct {
	typ, ifMatch, file                 string
	set, unset, grant, refuse, forgets []string
}

func (f *subjectFlags) register(cmd *cobra.Command, writes bool) {
	flags := cmd.Flags()
	flags.StringVar(&f.typ, "type", "", "subject type: subscriber, account or device (default subscriber)")
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(subjectTypeNames(), cobra.ShellCompDirectiveNoFileComp))
	if writes {
		flags.StringVar(&f.ifMatch, "if-match", "", "only if the subject is at this `VERSION`, such as v3")
	}
}

func (f *subjectFlags) registerChanges(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.set, "set", nil, "attribute value: `NAME=VALUE`, read as the attribute's type; repeatable")
	flags.StringSliceVar(&f.grant, "grant", nil, "`PURPOSE` the customer consents to; repeatable")
	flags.StringSliceVar(&f.refuse, "refuse", nil, "`PURPOSE` the customer does not consent to; repeatable")
}

func (a *app) subjectGetCommand() *cobra.Command {
	var f subjectFlags
	cmd := &cobra.Command{
		Use: "get SUBJECT", Short: "Show a customer",
		Example: "  arbiter subject get S-000123\n  arbiter subject get S-000123 -o yaml",
		Args:    args("SUBJECT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := subjectRef(cmd, args[0], f.typ)
			if err != nil {
				return err
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				doc, err := c.Subject(ctx, ref)
				if err != nil {
					return err
				}
				return a.print(doc, func(w io.Writer, p paint) { renderSubject(w, p, doc) })
			})
		},
	}
	f.register(cmd, false)
	return cmd
}

func renderSubject(w io.Writer, p paint, doc *nba.SubjectDocument) {
	fmt.Fprintf(w, "%s %s, version %d\n\n", subjectWord(doc.SubjectRef), p.bold(doc.ID), doc.Version)
	if len(doc.Attributes) == 0 {
		fmt.Fprintf(w, "  %s\n", p.dim("no attribute is set"))
	}
	t := newTable(p, "Attribute", "Value")
	for _, name := range slices.Sorted(maps.Keys(doc.Attributes)) {
		t.AppendRow([]any{name, wrap(valueText(doc.Attributes[name]), lineWidth-30, 0)})
	}
	if t.Length() > 0 {
		writeTable(w, t, 2)
	}
	if len(doc.Consents)+len(doc.ChannelConsents) == 0 {
		fmt.Fprintf(w, "\n  %s\n", p.dim("no consent given or refused"))
		return
	}
	fmt.Fprintln(w)
	for _, channel := range slices.Sorted(maps.Keys(doc.ChannelConsents)) {
		state := p.red("refused")
		if doc.ChannelConsents[channel] {
			state = p.green("granted")
		}
		fmt.Fprintf(w, "  consent to channel %s %s\n", channel, state)
	}
	for _, purpose := range slices.Sorted(maps.Keys(doc.Consents)) {
		state := p.red("refused")
		if doc.Consents[purpose] {
			state = p.green("granted")
		}
		fmt.Fprintf(w, "  consent to %s %s\n", purpose, state)
	}
}

func valueText(v any) string {
	if f, ok := v.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

func (a *app) subjectPutCommand() *cobra.Command {
	var f subjectFlags
	cmd := &cobra.Command{
		Use: "put SUBJECT [--file FILE | --set NAME=VALUE …]", Short: "Create or replace a customer",
		Example: `  arbiter subject put S-9 --set tenure=12 --set partner=true --grant marketing,profiling
  arbiter subject get S-9 -o yaml > s9.yaml && arbiter subject put S-9 --file s9.yaml`,
		Args: args("SUBJECT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := subjectRef(cmd, args[0], f.typ)
			if err != nil {
				return err
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				doc, err := a.subjectToPut(ctx, cmd, c, ref, &f)
				if err != nil {
					return err
				}
				stored, err := c.PutSubject(ctx, doc, f.ifMatch)
				if err != nil {
					return err
				}
				return a.print(stored, func(w io.Writer, p paint) {
					fmt.Fprintf(w, "%s %s stored, version %d\n", subjectWord(ref), p.bold(ref.ID), stored.Version)
				})
			})
		},
	}
	f.register(cmd, true)
	f.registerChanges(cmd)
	cmd.Flags().StringVar(&f.file, "file", "", "subject document, JSON or YAML; - is the standard input")
	return cmd
}

func (a *app) subjectToPut(ctx context.Context, cmd *cobra.Command, c apiClient, ref nba.SubjectRef, f *subjectFlags) (nba.SubjectDocument, error) {
	doc := nba.SubjectDocument{SubjectRef: ref, Attributes: map[string]any{}, Consents: map[string]bool{}}
	if f.file != "" {
		var err error
		if doc, err = a.readSubject(f.file, ref); err != nil {
			return doc, err
		}
	}
	values, err := attributeValues(ctx, cmd, c, f.set)
	if err != nil {
		return doc, err
	}
	maps.Copy(doc.Attributes, values)
	for _, purpose := range f.grant {
		doc.Consents[purpose] = true
	}
	for _, purpose := range f.refuse {
		doc.Consents[purpose] = false
	}
	return doc, nil
}

// readSubject reads a document as arbiter subject get prints it; id, type and version in it are
// replaced by those of the command line.
func (a *app) readSubject(file string, ref nba.SubjectRef) (nba.SubjectDocument, error) {
	body, err := a.readFile(file, maxSubjectBytes)
	if err != nil {
		return nba.SubjectDocument{}, err
	}
	var in struct {
		ID              string          `yaml:"id"`
		Type            string          `yaml:"type"`
		Version         uint64          `yaml:"version"`
		Attributes      map[string]any  `yaml:"attributes"`
		Consents        map[string]bool `yaml:"consents"`
		ChannelConsents map[string]bool `yaml:"channelConsents"`
	}
	dec := yaml.NewDecoder(strings.NewReader(string(body)))
	dec.KnownFields(true)
	if err := dec.Decode(&in); err != nil {
		return nba.SubjectDocument{}, fmt.Errorf("reading %s: %w", file, err)
	}
	doc := nba.SubjectDocument{SubjectRef: ref, Attributes: in.Attributes, Consents: in.Consents, ChannelConsents: in.ChannelConsents}
	if doc.Attributes == nil {
		doc.Attributes = map[string]any{}
	}
	if doc.Consents == nil {
		doc.Consents = map[string]bool{}
	}
	return doc, nil
}

// attributeValues reads NAME=VALUE with the types of the node's dictionary: 12 is text for a string
// attribute and a number for an int.
func attributeValues(ctx context.Context, cmd *cobra.Command, c apiClient, set []string) (map[string]any, error) {
	values := map[string]any{}
	if len(set) == 0 {
		return values, nil
	}
	dictionary, err := c.Attributes(ctx)
	if err != nil {
		return nil, err
	}
	kinds, names := map[string]nba.Kind{}, []string{}
	for _, attribute := range dictionary.Attributes {
		kinds[attribute.Name] = attribute.Type
		names = append(names, attribute.Name)
	}
	for _, text := range set {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, usage(cmd, "--set: use NAME=VALUE")
		}
		kind, known := kinds[name]
		if !known {
			err := fmt.Errorf("the attribute %s is not declared", name)
			if near := nba.Nearest(name, names); near != "" {
				return nil, withHint(err, "did you mean %s? arbiter subject attributes lists what is declared", near)
			}
			return nil, withHint(err, "arbiter subject attributes --declare %s=TYPE declares it", name)
		}
		v, err := nba.ParseValue(kind, value)
		if err != nil {
			return nil, usage(cmd, "--set %s: %s", name, err)
		}
		values[name] = v.Any()
	}
	return values, nil
}

func (a *app) subjectPatchCommand() *cobra.Command {
	var f subjectFlags
	cmd := &cobra.Command{
		Use: "patch SUBJECT", Short: "Change some attributes or consents of a customer",
		Example: `  arbiter subject patch S-000123 --set tenure=13 --unset device
  arbiter subject patch S-000123 --refuse marketing
  arbiter subject patch S-000123 --forget-consent profiling --if-match v3`,
		Args: args("SUBJECT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := subjectRef(cmd, args[0], f.typ)
			if err != nil {
				return err
			}
			if len(f.set)+len(f.unset)+len(f.grant)+len(f.refuse)+len(f.forgets) == 0 {
				return usage(cmd, "nothing to change: use --set, --unset, --grant, --refuse or --forget-consent")
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				values, err := attributeValues(ctx, cmd, c, f.set)
				if err != nil {
					return err
				}
				doc, err := c.PatchSubject(ctx, f.patch(ref, values), f.ifMatch)
				if err != nil {
					return err
				}
				return a.print(doc, func(w io.Writer, p paint) {
					fmt.Fprintf(w, "%s %s changed, version %d\n", subjectWord(ref), p.bold(ref.ID), doc.Version)
				})
			})
		},
	}
	f.register(cmd, true)
	f.registerChanges(cmd)
	cmd.Flags().StringSliceVar(&f.unset, "unset", nil, "`NAME` of an attribute to remove; repeatable")
	cmd.Flags().StringSliceVar(&f.forgets, "forget-consent", nil, "`PURPOSE` the customer has said nothing about; repeatable")
	return cmd
}

func (f *subjectFlags) patch(ref nba.SubjectRef, values map[string]any) nba.SubjectPatch {
	patch := nba.SubjectPatch{SubjectRef: ref, Attributes: values, Consents: map[string]*bool{}}
	for _, name := range f.unset {
		patch.Attributes[name] = nil
	}
	yes, no := true, false
	for _, purpose := range f.grant {
		patch.Consents[purpose] = &yes
	}
	for _, purpose := range f.refuse {
		patch.Consents[purpose] = &no
	}
	for _, purpose := range f.forgets {
		patch.Consents[purpose] = nil
	}
	return patch
}

func (a *app) subjectDeleteCommand() *cobra.Command {
	var f subjectFlags
	var yes bool
	cmd := &cobra.Command{
		Use: "delete SUBJECT --yes", Short: "Remove a customer, with history and decisions",
		Example: "  arbiter subject delete S-000123 --yes",
		Args:    args("SUBJECT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := subjectRef(cmd, args[0], f.typ)
			if err != nil {
				return err
			}
			if !yes {
				return usage(cmd, "this removes the customer with history and decisions, for good: add --yes")
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				if err := c.DeleteSubject(ctx, ref, f.ifMatch); err != nil {
					return err
				}
				return a.print(ref, func(w io.Writer, p paint) {
					fmt.Fprintf(w, "%s %s removed\n", subjectWord(ref), p.bold(ref.ID))
				})
			})
		},
	}
	f.register(cmd, true)
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

func (a *app) subjectHistoryCommand() *cobra.Command {
	var f subjectFlags
	var limit int
	var cursor string
	cmd := &cobra.Command{
		Use: "history SUBJECT", Short: "Show what was proposed to a customer and what came of it, newest first",
		Example: "  arbiter subject history S-000123\n  arbiter subject history S-000123 --limit 100 -o json",
		Args:    args("SUBJECT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := subjectRef(cmd, args[0], f.typ)
			if err != nil {
				return err
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				page, err := c.History(ctx, ref, limit, cursor)
				if err != nil {
					return err
				}
				return a.print(page, func(w io.Writer, p paint) { renderHistory(w, p, page) })
			})
		},
	}
	f.register(cmd, false)
	cmd.Flags().IntVar(&limit, "limit", 0, "most lines to show (default that of the node)")
	cmd.Flags().StringVar(&cursor, "cursor", "", "continue where an earlier page ended")
	return cmd
}

// subjectAttributesCommand reads and extends the dictionary.
func (a *app) subjectAttributesCommand() *cobra.Command {
	var declare, purposes []string
	cmd := &cobra.Command{
		Use: "attributes", Short: "List the attributes that customers may have, or declare new ones",
		Example: `  arbiter subject attributes
  arbiter subject attributes --declare device=string --declare roaming=bool --purpose service,marketing`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			declarations, err := parseDeclarations(cmd, declare, purposes)
			if err != nil {
				return err
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				dictionary, err := c.Attributes(ctx)
				if len(declarations) > 0 {
					dictionary, err = c.DeclareAttributes(ctx, declarations)
				}
				if err != nil {
					return err
				}
				return a.print(dictionary, func(w io.Writer, p paint) {
					if len(dictionary.Attributes) == 0 {
						fmt.Fprintln(w, "No attribute is declared. A mapping of arbiter subject import declares them, or --declare NAME=TYPE.")
						return
					}
					t := newTable(p, "Id", "Attribute", "Type", "Purposes")
					right(t, 1)
					for _, attribute := range dictionary.Attributes {
						t.AppendRow([]any{attribute.ID, p.bold(attribute.Name), attribute.Type.String(), strings.Join(attribute.Purposes, ", ")})
					}
					writeTable(w, t, 0)
				})
			})
		},
	}
	cmd.Flags().StringArrayVar(&declare, "declare", nil, "new attribute: `NAME=TYPE`, a type being bool, int, float, string or time; repeatable")
	cmd.Flags().StringSliceVar(&purposes, "purpose", nil, "`PURPOSE` the declared attributes may be used for (default all built-in ones)")
	return cmd
}

func parseDeclarations(cmd *cobra.Command, declare, purposes []string) ([]nba.AttributeDeclaration, error) {
	declarations := make([]nba.AttributeDeclaration, 0, len(declare))
	for _, text := range declare {
		name, typ, _ := strings.Cut(text, "=")
		kind, ok := nba.ParseKind(typ)
		if name == "" || !ok {
			return nil, usage(cmd, "--declare %s: use NAME=TYPE with a type of bool, int, float, string or time", text)
		}
		declarations = append(declarations, nba.AttributeDeclaration{Name: name, Type: kind, Purposes: purposes})
	}
	return declarations, nil
}
