package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// devControlTimeout bounds one exchange with a running arbiter dev.
const devControlTimeout = 5 * time.Second

// devSocket is where a running arbiter dev is told what to do to its nodes: one for each address of a
// first node, for its user alone.
func devSocket(apiAddr string) string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("arbiter-dev-%d-%s.sock", os.Getuid(), strings.NewReplacer(":", "_", "[", "", "]", "").Replace(apiAddr)))
}

// devControl answers the commands that break and mend the nodes of an arbiter dev.
type devControl struct {
	nodes    []*devNode
	links    *devLinks
	listener net.Listener
	workers  sync.WaitGroup
}

func newDevControl(nodes []*devNode, links *devLinks) (*devControl, error) {
	path := devSocket(nodes[0].api)
	// Its port is ours, so one that is there was left behind.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("opening the control socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("opening the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	c := &devControl{nodes: nodes, links: links, listener: listener}
	c.workers.Go(c.serve)
	return c, nil
}

func (c *devControl) close() error {
	err := c.listener.Close() // removes the socket
	c.workers.Wait()
	return err
}

// serve answers one command a connection.
func (c *devControl) serve() {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(devControlTimeout))
		line, err := bufio.NewReader(io.LimitReader(conn, 256)).ReadString('\n')
		if err == nil {
			verb, node, _ := strings.Cut(strings.TrimSpace(line), " ")
			answer := "ok"
			if err := c.do(verb, node); err != nil {
				answer = err.Error()
			}
			_, _ = io.WriteString(conn, answer+"\n")
		}
		_ = conn.Close()
	}
}

func (c *devControl) do(verb, node string) error {
	for _, n := range c.nodes {
		if n.id != node {
			continue
		}
		switch verb {
		case "partition", "heal":
			c.links.isolate(node, verb == "partition")
			return nil
		case "kill", "pause", "resume":
			signal := map[string]syscall.Signal{"kill": syscall.SIGKILL, "pause": syscall.SIGSTOP, "resume": syscall.SIGCONT}[verb]
			return n.signal(signal)
		}
	}
	var ids []string
	for _, n := range c.nodes {
		ids = append(ids, n.id)
	}
	return fmt.Errorf("there is no such node: this cluster has %s", strings.Join(ids, ", "))
}

// signal reaches the process that runs the node now.
func (n *devNode) signal(s syscall.Signal) error {
	process := n.process.Load()
	if process == nil || process.Signal(s) != nil {
		return fmt.Errorf("node %s does not run: it is started again shortly", n.id)
	}
	return nil
}

// devFaultCommands break and mend the nodes of an arbiter dev that runs in another terminal.
func (a *app) devFaultCommands() []*cobra.Command {
	var commands []*cobra.Command
	for _, fault := range []struct{ verb, short, done string }{
		{"kill", "End a node without a chance to clean up; it is started again", "Node %s was killed."},
		{"pause", "Stop a node where it stands, as a machine that hangs", "Node %s stands still; arbiter dev resume goes on."},
		{"resume", "Let a paused node go on", "Node %s goes on."},
		{"partition", "Cut a node off from the others; clients still reach it", "Node %s is cut off; arbiter dev heal joins it again."},
		{"heal", "Join a node to the others again", "Node %s reaches the others again."},
	} {
		commands = append(commands, &cobra.Command{
			Use: fault.verb + " NODE", Short: fault.short, Args: args("NODE"),
			Long: fault.short + ".\n\nThe cluster is that of arbiter dev --nodes 3 in another terminal; --addr names its first node if it is not the default.",
			RunE: func(cmd *cobra.Command, args []string) error {
				if err := tellDev(cmd.Context(), listenAddr(strings.TrimPrefix(a.addr, "http://")), fault.verb, args[0]); err != nil {
					return err
				}
				fmt.Fprintf(a.err, fault.done+"\n", args[0])
				return nil
			},
		})
	}
	return commands
}

func tellDev(ctx context.Context, apiAddr, verb, node string) error {
	conn, err := (&net.Dialer{Timeout: devControlTimeout}).DialContext(ctx, "unix", devSocket(apiAddr))
	if err != nil {
		return withHint(fmt.Errorf("no cluster of arbiter dev is running at %s", apiAddr), "start one with arbiter dev --nodes 3, or name the address of its first node with --addr")
	}
	defer conn.Close() //nolint:errcheck // one exchange
	if err := conn.SetDeadline(time.Now().Add(devControlTimeout)); err != nil {
		return fmt.Errorf("talking to arbiter dev: %w", err)
	}
	if _, err := fmt.Fprintf(conn, "%s %s\n", verb, node); err != nil {
		return fmt.Errorf("talking to arbiter dev: %w", err)
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return fmt.Errorf("talking to arbiter dev: %w", err)
	}
	if answer = strings.TrimSpace(answer); answer != "ok" {
		return errors.New(answer)
	}
	return nil
}
