package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/arbiterhq/arbiter/cluster/delivery"
)

// devSink is the name of the sink of arbiter dev --webhook.
const devSink = "webhook"

// sink is where the deliveries of the demo go.
func (f *devFlags) sink() delivery.Spec {
	if f.webhook == "" {
		return delivery.Spec{Name: delivery.LogSink, Kind: delivery.KindLog}.Default()
	}
	return delivery.Spec{Name: devSink, Kind: delivery.KindWebhook, URL: f.webhook}.Default()
}

// sendsTo tells people where deliveries go.
func (f *devFlags) sendsTo(p paint) string {
	if f.webhook == "" {
		return "to the log" + p.dim("  (arbiter delivery list shows them; --webhook URL posts them)")
	}
	return "to " + f.webhook
}

// sinkArgs are the arguments of a node of a cluster that say where deliveries go.
func (f *devFlags) sinkArgs(folder string) ([]string, error) {
	if f.webhook == "" {
		return []string{"--delivery-default-sink", delivery.LogSink}, nil
	}
	file := filepath.Join(folder, "sinks.yaml")
	text := fmt.Sprintf("delivery: {defaultSink: %s}\nsinks:\n  - {name: %s, kind: %s, url: %s}\n", devSink, devSink, delivery.KindWebhook, strconv.Quote(f.webhook))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("writing the settings of the nodes: %w", err)
	}
	return []string{"--config", file}, nil
}
