package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
)

// decideFlags are the flags of arbiter decide.
type decideFlags struct {
	subjectType string
	channel     string
	direction   string
	placements  []string
	contexts    []string
	exclude     []string
	explain     string
	simulate    bool
	catalog     uint64
	timeoutMS   int
	key         keyFlag
}

func (a *app) decideCommand() *cobra.Command {
	var f decideFlags
	cmd := &cobra.Command{
		Use:   "decide SUBJECT --channel CHANNEL",
		Short: "Ask what to propose to a customer now, and why",
		Example: `  arbiter decide S-000123 --channel web
  arbiter decide S-000123 --channel web --explain
  arbiter decide S-000123 --channel web --placement hero --placement banner:3
  arbiter decide S-000123 --channel callcentre --context reason=complaint --explain=full
  arbiter decide S-000123 --channel web --simulate -o json`,
		Args: args("SUBJECT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := f.request(cmd, args[0])
			if err != nil {
				return err
			}
			return a.decide(cmd, req, &f.key)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.channel, "channel", "", "the channel that asks: one of the catalog's")
	flags.StringVar(&f.subjectType, "type", "", "subject type: subscriber, account or device (default subscriber)")
	flags.StringVar(&f.direction, "direction", "", "inbound or outbound (default that of the channel)")
	flags.StringArrayVar(&f.placements, "placement", nil, "placement, and how many propositions for it: `NAME[:LIMIT]`; repeatable")
	flags.StringArrayVar(&f.contexts, "context", nil, "situational value: `KEY=VALUE`; repeatable")
	flags.StringArrayVar(&f.exclude, "exclude", nil, "`ACTION` that must not be proposed; repeatable")
	flags.StringVar(&f.explain, "explain", "none", "show what left the funnel and why: `reasons` or full")
	flags.Lookup("explain").NoOptDefVal = string(nba.ExplainReasons)
	flags.BoolVar(&f.simulate, "simulate", false, "decide, but record nothing")
	flags.Uint64Var(&f.catalog, "catalog-version", 0, "decide with this catalogVersion in place of the active one")
	flags.IntVar(&f.timeoutMS, "timeout-ms", 0, "the caller's deadline in milliseconds (default that of the node)")
	f.key.register(cmd)
	_ = cmd.RegisterFlagCompletionFunc("explain", cobra.FixedCompletions([]string{"reasons", "full"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(subjectTypeNames(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// request turns the flags into a decision request.
func (f *decideFlags) request(cmd *cobra.Command, subject string) (*nba.DecisionRequest, error) {
	if f.channel == "" {
		return nil, usage(cmd, "--channel is missing")
	}
	explain := nba.Explain(f.explain)
	if explain != nba.ExplainNone && explain != nba.ExplainReasons && explain != nba.ExplainFull {
		return nil, usage(cmd, "--explain is reasons or full")
	}
	ref, err := subjectRef(cmd, subject, f.subjectType)
	if err != nil {
		return nil, err
	}
	req := &nba.DecisionRequest{
		Subject: ref, Channel: f.channel, Direction: nba.Direction(f.direction), ExcludedActions: f.exclude,
		Options: nba.DecisionOptions{Explain: explain, Simulate: f.simulate, CatalogVersion: f.catalog, TimeoutMS: f.timeoutMS},
	}
	for _, given := range f.placements {
		p, ok := parsePlacement(given)
		if !ok {
			return nil, usage(cmd, "--placement %s: use NAME or NAME:LIMIT with a limit from 1 to %d", given, nba.MaxPlacementLimit)
		}
		req.Placements = append(req.Placements, p)
	}
	for _, given := range f.contexts {
		key, value, ok := strings.Cut(given, "=")
		if !ok || key == "" {
			return nil, usage(cmd, "--context %s: use KEY=VALUE", given)
		}
		req.Contexts = append(req.Contexts, nba.ContextValue{Key: key, Value: value})
	}
	return req, nil
}

func parsePlacement(given string) (nba.PlacementRequest, bool) {
	name, limit, limited := strings.Cut(given, ":")
	p := nba.PlacementRequest{ID: name, Limit: 1}
	if limited {
		n, err := strconv.Atoi(limit)
		if err != nil || n < 1 || n > nba.MaxPlacementLimit {
			return p, false
		}
		p.Limit = n
	}
	return p, name != ""
}

// subjectRef checks the id and type that a user gave.
func subjectRef(cmd *cobra.Command, id, typ string) (nba.SubjectRef, error) {
	ref, err := nba.SubjectRef{ID: id, Type: nba.SubjectType(typ)}.Normalize()
	if err != nil {
		return ref, usage(cmd, "%s", err)
	}
	return ref, nil
}

func subjectTypeNames() []string {
	names := make([]string, len(nba.SubjectTypes))
	for i, t := range nba.SubjectTypes {
		names[i] = string(t)
	}
	return names
}

func (a *app) decide(cmd *cobra.Command, req *nba.DecisionRequest, key *keyFlag) error {
	return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
		ctx, err := key.with(cmd, ctx)
		if err != nil {
			return err
		}
		d, err := c.Decide(ctx, req)
		if err != nil {
			return err
		}
		return a.print(d, func(w io.Writer, p paint) {
			replayed(ctx, w, p)
			renderDecision(w, p, req, d)
		})
	})
}

// decisionWidth is the number of columns that decisions and their explanations aim at: that of the narrowest
// terminal.
const decisionWidth = 80

// renderDecision prints a decision for people: what is proposed, by which numbers, and, when asked,
// what was not and why.
func renderDecision(w io.Writer, p paint, req *nba.DecisionRequest, d *nba.Decision) {
	what := "Decision " + p.bold(d.DecisionID)
	if req.Options.Simulate {
		what = p.bold("Simulated decision")
	}
	fmt.Fprintf(w, "%s for %s %s on %s\n", what, subjectWord(req.Subject), p.bold(req.Subject.ID), p.bold(req.Channel))
	renderFlags(w, p, d)
	models := &modelList{}
	proposed, widths := 0, columnWidths{action: len("Action"), model: len("Model")}
	for _, placement := range d.Propositions {
		widths.fit(&placement)
	}
	for _, placement := range d.Propositions {
		renderPlacement(w, p, &placement, models, widths)
		proposed += len(placement.Items)
	}
	if proposed == 0 {
		fmt.Fprintf(w, "\n  %s\n", p.yellow("Nothing to propose."))
	} else {
		fmt.Fprintf(w, "\n  %s\n", p.dim("priority = P propensity × C context weight × V value × L lever"))
	}
	models.render(w, p)
	if d.Explanation != nil {
		renderExplanation(w, p, d.Explanation)
	}
	fmt.Fprintf(w, "\n%s\n", p.dim(fmt.Sprintf("catalog version %d, decided %s", d.CatalogVersion, stamp(d.DecidedAt))))
	renderNext(w, p, req, d)
}

func subjectWord(ref nba.SubjectRef) string {
	if ref.Type == "" {
		return string(nba.DefaultSubjectType)
	}
	return string(ref.Type)
}

func renderFlags(w io.Writer, p paint, d *nba.Decision) {
	if d.Degraded {
		reason := d.DegradedReason
		if reason == "" {
			reason = "something needed was not available"
		}
		fmt.Fprintf(w, "%s %s\n", p.yellow("Degraded:"), reason)
	}
	if d.InControlGroup {
		group := d.ControlGroup
		if group == "" {
			group = "the control group"
		}
		fmt.Fprintf(w, "%s the customer is in %s\n", p.yellow("Control group:"), group)
	}
}

// columnWidths make the tables of all placements line up.
type columnWidths struct{ action, model int }

func (c *columnWidths) fit(placement *nba.PlacementPropositions) {
	for i := range placement.Items {
		item := &placement.Items[i]
		c.action = max(c.action, len(item.Action))
		if item.Model != nil {
			c.model = max(c.model, len(item.Model.Name))
		}
	}
}

// renderPlacement prints the ranked propositions of one placement.
func renderPlacement(w io.Writer, p paint, placement *nba.PlacementPropositions, models *modelList, widths columnWidths) {
	name := placement.Placement
	if name == "" {
		name = "any placement"
	}
	arranged := ""
	if s := placement.Strategy; s != nil {
		arranged = p.dim(fmt.Sprintf("  arranged by strategy %s %s", s.Name, s.Version))
	}
	fmt.Fprintf(w, "\n  %s%s\n", p.cyan(name), arranged)
	if len(placement.Items) == 0 {
		fmt.Fprintf(w, "    %s\n", p.dim("nothing to propose here"))
		return
	}
	t := newTable(p, "#", "Action", "P", "C", "V", "L", "Priority", "Model")
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 1, Align: text.AlignRight},
		{Number: 2, WidthMin: widths.action},
		{Number: 3, Align: text.AlignRight, AlignHeader: text.AlignRight, WidthMin: 6},
		{Number: 4, Align: text.AlignRight, AlignHeader: text.AlignRight, WidthMin: 4},
		{Number: 5, Align: text.AlignRight, AlignHeader: text.AlignRight, WidthMin: 7},
		{Number: 6, Align: text.AlignRight, AlignHeader: text.AlignRight, WidthMin: 4},
		{Number: 7, Align: text.AlignRight, AlignHeader: text.AlignRight, WidthMin: 8},
		{Number: 8, WidthMin: widths.model},
	})
	for i := range placement.Items {
		item := &placement.Items[i]
		t.AppendRow([]any{item.Rank, p.green(item.Action), number(item.Propensity), number(item.ContextWeight),
			amount(item.Value), number(item.Lever), p.bold(amount(item.Priority)), models.mark(item.Model)})
	}
	writeTable(w, t, 4)
	for i := range placement.Items {
		renderContent(w, p, &placement.Items[i])
	}
}

// reasonText is why the action is there; the label says more than the code, where there is one.
func reasonText(item *nba.Proposition) string {
	reason := item.Reason.Label
	if reason == "" {
		reason = item.Reason.Code
	}
	if item.StrategyWeight != 0 {
		reason += "; the strategy multiplied the priority by " + number(item.StrategyWeight)
	}
	return reason
}

// renderContent prints why the action is there, and what the customer would see.
func renderContent(w io.Writer, p paint, item *nba.Proposition) {
	title := item.Label
	if title == "" {
		title = item.Action
	}
	fmt.Fprintf(w, "\n    %s %s", p.dim(strconv.Itoa(item.Rank)+"."), p.bold(title))
	if item.Treatment != "" {
		fmt.Fprintf(w, " %s", p.dim("· "+item.Treatment))
	}
	if item.Offering != nil && item.Offering.ID != "" {
		fmt.Fprintf(w, " %s", p.dim("· "+item.Offering.ID))
	}
	fmt.Fprintln(w)
	if reason := reasonText(item); reason != "" {
		fmt.Fprintf(w, "       %s\n", p.dim(wrap(reason, decisionWidth-7, 7)))
	}
	width := 0
	for key := range item.Content {
		width = max(width, len(key))
	}
	for _, key := range contentOrder(item.Content) {
		indent := 7 + width + 2
		fmt.Fprintf(w, "       %s  %s\n", p.dim(pad(key, width)), wrap(item.Content[key], decisionWidth-indent, indent))
	}
}

// renderNext prints the command that follows naturally.
func renderNext(w io.Writer, p paint, req *nba.DecisionRequest, d *nba.Decision) {
	if req.Options.Explain == nba.ExplainNone {
		fmt.Fprintf(w, "%s\n", p.dim("Why? Add --explain, or --explain=full for every number."))
	}
	if req.Options.Simulate || d.DecisionID == "" {
		return
	}
	for _, placement := range d.Propositions {
		for i := range placement.Items {
			fmt.Fprintf(w, "%s arbiter respond %s --action %s --outcome Accepted\n", p.dim("What came of it:"),
				d.DecisionID, placement.Items[i].Action)
			return
		}
	}
}
