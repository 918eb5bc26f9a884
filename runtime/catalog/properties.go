package catalog

import "go.yaml.in/yaml/v3"

// The limits of the parameters of plugins: plugins in a document, parameters of each, bytes of a text.
const (
	MaxParameterized  = 64
	MaxParameters     = 64
	MaxParameterBytes = 4096
)

// Properties are the numeric properties of the action by name, for strategies. They must not be changed.
func (a *Action) Properties() map[string]float64 { return a.properties }

// parameters reads the parameters of one plugin into the catalog's.
func (d *decoder) parameters(into *map[string]map[string]string) func(key, value *yaml.Node) {
	return func(plugin, list *yaml.Node) {
		texts := map[string]string{}
		d.dictionary("parameters", MaxParameters, func(key, value *yaml.Node) {
			if value.Kind == yaml.ScalarNode && value.Value == "" {
				texts[key.Value] = ""
				return
			}
			var t text
			if d.label(&t, MaxParameterBytes)(value); t.given() {
				texts[key.Value] = t.value
			}
		})(list)
		if *into == nil {
			*into = map[string]map[string]string{}
		}
		(*into)[plugin.Value] = texts
	}
}
