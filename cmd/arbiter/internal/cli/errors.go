package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/client"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/spf13/cobra"
)

// The exit codes of every command.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitNotFound    = 4
	exitUnavailable = 6
)

// usageError is returned when the command line itself is wrong.
type usageError struct {
	cmd     *cobra.Command
	message string
}

// Error implements error.
func (u *usageError) Error() string { return u.message }

func usage(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{cmd: cmd, message: fmt.Sprintf(format, args...)}
}

func unknownCommand(cmd *cobra.Command, name string) error {
	message := fmt.Sprintf("unknown command %q for %q", name, cmd.CommandPath())
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		message += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return &usageError{cmd: cmd, message: message}
}

// hinted adds what to do next to an error.
type hinted struct {
	err  error
	hint string
}

// Error implements error.
func (h *hinted) Error() string { return h.err.Error() }

// Unwrap returns the error itself.
func (h *hinted) Unwrap() error { return h.err }

func withHint(err error, format string, args ...any) error {
	return &hinted{err: err, hint: fmt.Sprintf(format, args...)}
}

// exitCode tells a script what went wrong.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[*client.Unreachable](err); ok {
		return exitUnavailable
	}
	if p, ok := errors.AsType[*client.Problem](err); ok {
		switch p.Status {
		case http.StatusNotFound:
			return exitNotFound
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return exitUnavailable
		}
	}
	if errors.Is(err, context.Canceled) {
		return exitSignal
	}
	return exitError
}

// report prints an error for people: what, where, and what to do.
func (a *app) report(cmd *cobra.Command, err error) {
	p := a.paint(a.errTTY)
	w := a.err
	problem, isProblem := errors.AsType[*client.Problem](err)
	ours, isOurs := errors.AsType[*nba.Error](err)
	switch {
	case isProblem:
		title := problem.Title
		if prefix, ok := strings.CutSuffix(err.Error(), problem.Error()); ok {
			title = prefix + title
		}
		fmt.Fprintf(w, "%s %s (%s)\n", p.red("Error:"), title, codeText(problem))
		repeated := len(problem.Errors) == 1 && problem.Errors[0].Detail == problem.Detail
		if problem.Detail != "" && problem.Detail != problem.Title && !repeated {
			fmt.Fprintf(w, "  %s\n", problem.Detail)
		}
		writeDetails(w, p, problem.Errors)
		if problem.Instance != "" {
			fmt.Fprintf(w, "  %s\n", p.dim("request "+strings.TrimPrefix(problem.Instance, "urn:arbiter:request:")))
		}
	case isOurs:
		message := ours.Message
		if prefix, ok := strings.CutSuffix(err.Error(), ours.Error()); ok {
			message = prefix + message
		}
		fmt.Fprintf(w, "%s %s\n", p.red("Error:"), message)
		if len(ours.Details) != 1 || ours.Details[0].Detail != ours.Message {
			writeDetails(w, p, ours.Details)
		}
	case errors.Is(err, context.Canceled):
		fmt.Fprintf(w, "%s interrupted\n", p.red("Error:"))
	default:
		fmt.Fprintf(w, "%s %s\n", p.red("Error:"), err)
	}
	if hint := hintFor(cmd, err); hint != "" {
		fmt.Fprintf(w, "  %s %s\n", p.cyan("Hint:"), hint)
	}
}

func codeText(p *client.Problem) string {
	if p.Code == "" {
		return fmt.Sprintf("status %d", p.Status)
	}
	return fmt.Sprintf("%s, status %d", p.Code, p.Status)
}

// hintFor is what to do about err, or "".
func hintFor(cmd *cobra.Command, err error) string {
	if h, ok := errors.AsType[*hinted](err); ok {
		return h.hint
	}
	if u, ok := errors.AsType[*usageError](err); ok {
		if u.cmd != nil {
			cmd = u.cmd
		}
		return fmt.Sprintf("usage: %s; see %s --help", cmd.UseLine(), cmd.CommandPath())
	}
	if _, ok := errors.AsType[*client.Unreachable](err); ok {
		return "start a node with arbiter dev, or name one with --addr or ARBITER_ADDR"
	}
	problem, ok := errors.AsType[*client.Problem](err)
	if !ok {
		return ""
	}
	switch problem.Code {
	case nba.CodeSubjectUnknown:
		return "see the id and --type; arbiter subject import FILE brings subjects in, arbiter subject put one"
	case nba.CodeAttributeUnknown:
		return "arbiter subject attributes lists what is declared"
	case nba.CodeActionUnknown:
		return "the action must be one that the decision proposed"
	case nba.CodeDecisionUnknown:
		return "the decision id is in the answer of arbiter decide; simulated decisions are not kept"
	case nba.CodePluginUnknown:
		return "arbiter plugin list shows what was pushed"
	case nba.CodeCatalogUnknown:
		return "arbiter catalog apply FILE stores and activates one"
	case nba.CodePrecondition, nba.CodePreconditionNeeds:
		return "somebody else changed it: read it again, then repeat with its version in --if-match"
	case nba.CodeUnauthenticated:
		return "put an API key into ARBITER_TOKEN; an admin makes one with arbiter key create, the first is made with --first on the machine of a node"
	case nba.CodeForbidden:
		return "arbiter key whoami shows the roles of the key in ARBITER_TOKEN"
	case nba.CodeOverloaded, nba.CodeUnavailable, nba.CodeTimeout:
		return "the node is up but not ready for this: try again in a moment; /readyz on the admin port says why"
	case nba.CodeInternal:
		return "the node's log tells more under this request id"
	}
	return ""
}
