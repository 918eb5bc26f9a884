package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// exitSignal is the exit code after a second signal: 128 + SIGINT, as shells have it.
const exitSignal = 130

// notifyContext is a context that ends at the first SIGINT or SIGTERM. The second one ends the process
// at once: whoever asks twice does not want to wait.
func notifyContext() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	stopped := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-signals:
			cancel()
		case <-stopped:
			return
		}
		select {
		case <-signals:
			os.Exit(exitSignal)
		case <-stopped:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(stopped)
		<-ended
		cancel()
	}
}
