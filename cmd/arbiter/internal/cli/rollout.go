package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/client"
	"github.com/arbiterhq/arbiter/plugins/rollout"
	"github.com/spf13/cobra"
)

func (a *app) rolloutCommand() *cobra.Command {
	return noun("rollout", "Bring a new version of a plugin into use step by step, and back by itself",
		`  arbiter plugin push churn-1.1.0.wasm
  arbiter rollout start churn 1.1.0 --steps shadow,1%,10%,50% --hold 1h --auto
  arbiter rollout status churn
  arbiter rollout promote churn
  arbiter rollout undo churn`,
		a.rolloutStartCommand(), a.rolloutStatusCommand(), a.rolloutListCommand(),
		a.rolloutChangeCommand(rollout.Promote, "Go to the next step, after the last one to active"),
		a.rolloutChangeCommand(rollout.Pause, "Hold the present step; the guardrails stay in force"),
		a.rolloutChangeCommand(rollout.Resume, "Go on after a pause; the hold of the step begins anew"),
		a.rolloutChangeCommand(rollout.Abort, "Return to the version in use, before the new one is active"),
		a.rolloutChangeCommand(rollout.Undo, "Return to the version before, after the new one was active"))
}

// rolloutFlags are the flags of arbiter rollout start.
type rolloutFlags struct {
	steps        []string
	hold, window time.Duration
	auto         bool
	salt         string
	shadow       string
	guards       []string
}

func (a *app) rolloutStartCommand() *cobra.Command {
	var f rolloutFlags
	cmd := &cobra.Command{
		Use: "start PLUGIN VERSION", Short: "Begin to roll a pushed version out",
		Long: "Has every node load the version, then takes it through the steps: scored in the shadow of the version in use,\n" +
			"handed a growing share of the customers, and at last active. Guardrails compare both versions all the while and\n" +
			"take the new one back by themselves. Without --auto each step waits for arbiter rollout promote.\n\n" +
			"--guard NAME=LIMIT changes a guardrail: errors=1%, degraded=1%, fuel=3x, latency=3x, floor=1ms, shift=0.25,\n" +
			"acceptance=10%, ratio=24; NAME=off switches it off. calls=500, propositions=1000 and subjects=1000 are how much is to\n" +
			"be seen before they judge.",
		Example: `  arbiter rollout start churn 1.1.0
  arbiter rollout start churn 1.1.0 --steps shadow,5%,50% --hold 30m --auto
  arbiter rollout start churn 1.1.0 --guard errors=0.5% --guard shift=off`,
		Args: args("PLUGIN", "VERSION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := f.spec()
			if err != nil {
				return usage(cmd, "%s", err)
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				view, err := c.StartRollout(ctx, &rollout.Request{Plugin: args[0], Version: args[1], Spec: spec})
				if err != nil {
					return err
				}
				return a.print(view, func(w io.Writer, p paint) { renderRollout(w, p, view, time.Now()) })
			})
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.steps, "steps", []string{"shadow", "1%", "10%", "50%"}, "what comes before active: shadow, and shares of the customers")
	flags.DurationVar(&f.hold, "hold", 10*time.Minute, "how long each step lasts at least, with --auto")
	flags.BoolVar(&f.auto, "auto", false, "go on by itself while the guardrails agree")
	flags.StringVar(&f.salt, "salt", "", "chooses the customers; by default the rollout's id")
	flags.DurationVar(&f.window, "window", 0, "how far the guardrails look back (default 5m)")
	flags.StringVar(&f.shadow, "shadow", "", "share of the decisions that are scored in the shadow (default 100%)")
	flags.StringArrayVar(&f.guards, "guard", nil, "a limit: `NAME=LIMIT`; repeatable")
	return cmd
}

func (a *app) rolloutStatusCommand() *cobra.Command {
	var watch time.Duration
	cmd := &cobra.Command{
		Use: "status ROLLOUT|PLUGIN", Short: "Show the counters of both versions and where the guardrails stand",
		Long:    "Shows a rollout by its id, or the newest one of a plugin.",
		Example: "  arbiter rollout status churn\n  arbiter rollout status churn --watch 2s\n  arbiter rollout status churn-42 -o json",
		Args:    args("ROLLOUT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				for {
					view, err := findRollout(ctx, c, args[0])
					if err != nil {
						return err
					}
					if err := a.print(view, func(w io.Writer, p paint) { renderRollout(w, p, view, time.Now()) }); err != nil {
						return err
					}
					if watch <= 0 || !view.Stage.Running() {
						return nil
					}
					select {
					case <-ctx.Done():
						return nil
					case <-time.After(watch):
						fmt.Fprintln(a.out)
					}
				}
			})
		},
	}
	cmd.Flags().DurationVar(&watch, "watch", 0, "show it again and again until it is over")
	return cmd
}

func (a *app) rolloutListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List all rollouts, the newest first",
		Example: "  arbiter rollout list\n  arbiter rollout list -o json",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				views, err := c.Rollouts(ctx)
				if err != nil {
					return err
				}
				return a.print(views, func(w io.Writer, p paint) {
					if len(views) == 0 {
						fmt.Fprintln(w, "Nothing was rolled out. arbiter rollout start PLUGIN VERSION begins with a version that was pushed.")
						return
					}
					t := newTable(p, "Rollout", "Plugin", "From", "To", "Stage", "Started")
					for i := range views {
						v := &views[i]
						t.AppendRow([]any{p.bold(v.ID), v.Plugin, v.Incumbent, v.Version, stageText(p, v), stamp(v.StartedAt)})
					}
					writeTable(w, t, 0)
				})
			})
		},
	}
}

func (a *app) rolloutChangeCommand(verb rollout.Verb, short string) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: string(verb) + " ROLLOUT|PLUGIN", Short: short,
		Example: "  arbiter rollout " + string(verb) + " churn\n  arbiter rollout " + string(verb) + " churn-42",
		Args:    args("ROLLOUT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				found, err := findRollout(ctx, c, args[0])
				if err != nil {
					return err
				}
				view, err := c.ChangeRollout(ctx, found.ID, verb, force)
				if err != nil {
					return err
				}
				return a.print(view, func(w io.Writer, p paint) { renderRollout(w, p, view, time.Now()) })
			})
		},
	}
	if verb == rollout.Promote {
		cmd.Flags().BoolVar(&force, "force", false, "also when nodes do not have the version ready")
	}
	return cmd
}

// findRollout reads a rollout by its id, or the newest one of a plugin.
func findRollout(ctx context.Context, c apiClient, name string) (*rollout.View, error) {
	view, err := c.Rollout(ctx, name)
	problem, refused := errors.AsType[*client.Problem](err)
	if err == nil || !refused || problem.Status != http.StatusNotFound {
		return view, err
	}
	views, listErr := c.Rollouts(ctx)
	if listErr != nil {
		return nil, listErr
	}
	for i := range views {
		if views[i].Plugin == name {
			return &views[i], nil
		}
	}
	return nil, err
}

// stageText is the stage with the share and what is special.
func stageText(p paint, v *rollout.View) string {
	text := string(v.Stage)
	switch v.Stage {
	case rollout.Active:
		text = p.green(text)
	case rollout.RolledBack:
		text = p.red("rolled back")
	case rollout.Canary:
		text = p.yellow("canary " + share(v.Permille))
	case rollout.Staged, rollout.Prepared, rollout.Shadow:
		text = p.yellow(text)
	}
	if v.Cause != "" {
		text += ", " + v.Cause
	}
	if v.Paused {
		text += ", " + p.red("paused")
	}
	return text
}

// share prints per mille as a percentage.
func share(permille int) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(permille)/10), ".0") + "%"
}
