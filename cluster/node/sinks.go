package node

import (
	"errors"
	"fmt"

	sinks "github.com/arbiterhq/arbiter/cluster/delivery"
)

// openSink is a sink of the settings.
type openSink struct {
	spec sinks.Spec
	sink sinks.Sink
}

// openSinks opens the sinks of the settings, and that of the log.
func openSinks(cfg *Config) (map[string]openSink, error) {
	opened := map[string]openSink{}
	specs := append([]sinks.Spec{{Name: sinks.LogSink, Kind: sinks.KindLog}}, cfg.Sinks...)
	for _, spec := range specs {
		spec = spec.Default()
		if _, replaced := opened[spec.Name]; replaced && spec.Name != sinks.LogSink {
			continue // Validate has reported it
		}
		sink, err := sinks.Open(spec, cfg.Logger)
		if err != nil {
			return nil, errors.Join(err, closeSinks(opened))
		}
		opened[spec.Name] = openSink{spec, sink}
	}
	return opened, nil
}

func closeSinks(opened map[string]openSink) error {
	var problems []error
	for name := range opened {
		problems = append(problems, opened[name].sink.Close())
	}
	return errors.Join(problems...)
}

// validateSinks reports every sink that cannot work.
func (c *Config) validateSinks() error {
	var problems []error
	if len(c.Sinks) > sinks.MaxSinks {
		problems = append(problems, fmt.Errorf("%d sinks: at most %d", len(c.Sinks), sinks.MaxSinks))
	}
	known := map[string]bool{sinks.LogSink: true}
	for i, spec := range c.Sinks {
		if known[spec.Name] && (spec.Name != sinks.LogSink || spec.Kind != sinks.KindLog) {
			problems = append(problems, fmt.Errorf("two sinks have the name %s", spec.Name))
		}
		known[spec.Name] = true
		if err := spec.Default().Validate(); err != nil {
			problems = append(problems, fmt.Errorf("sink %d: %w", i, err))
		}
	}
	if c.DefaultSink != "" && !known[c.DefaultSink] {
		problems = append(problems, fmt.Errorf("the default sink %s is not among the sinks", c.DefaultSink))
	}
	return errors.Join(problems...)
}
