package catalog

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Limits of volumes.
const (
	MaxVolumes = 4 // of one action
	MaxVolume  = 1e12
)

const codeVolume = "VOLUME_LIMIT"

// perTotal is the period without end.
const perTotal = "total"

// volumeSpec is a budget as it is written.
type volumeSpec struct {
	node                   *yaml.Node
	max                    number
	per, zone, code, label text
}

// volumes reads one volume, or a list of them.
func (d *decoder) volumes(to *[]volumeSpec) func(*yaml.Node) {
	one := func(n *yaml.Node) {
		s := volumeSpec{node: n}
		d.object(n, "a volume",
			required("max", d.number(&s.max, 1, MaxVolume)),
			required("per", d.oneOf(&s.per, "day", "week", "month", perTotal)),
			optional("timeZone", d.label(&s.zone, MaxNameBytes)),
			optional("code", d.code(&s.code)),
			optional("label", d.label(&s.label, MaxLabelBytes)),
		)
		if s.max.given && s.max.value != math.Trunc(s.max.value) {
			d.fail(n, nba.CodeInvalid, "a number of propositions is a whole number")
		}
		*to = append(*to, s)
	}
	return func(n *yaml.Node) {
		if d.describing != nil && d.either(n, one, d.list("volumes", MaxVolumes, one)) {
			return
		}
		if n.Kind == yaml.SequenceNode {
			d.list("volumes", MaxVolumes, one)(n)
			return
		}
		one(n)
	}
}

// volumes resolves the budgets of an action.
func (c *compiler) volumes(a *Action, spec *actionSpec) {
	first := map[string]*yaml.Node{}
	for i := range spec.volumes {
		s := &spec.volumes[i]
		if !s.per.given() || !c.unique(first, s.per, "volume per") {
			continue
		}
		v := contact.Volume{Key: a.Name + "/" + s.per.value, Max: uint64(s.max.value), Zone: c.volumeZone(s), Code: cmp.Or(s.code.value, codeVolume)}
		v.Per = map[string]contact.Unit{"day": contact.Day, "week": contact.Week, "month": contact.Month}[s.per.value]
		if v.Label = s.label.value; v.Label == "" {
			v.Label = fmt.Sprintf("the volume of %d per %s is used up", v.Max, s.per.value)
			if v.Per == contact.NoUnit {
				v.Label = fmt.Sprintf("the volume of %d in total is used up", v.Max)
			}
		}
		a.Volumes = append(a.Volumes, v)
	}
}

// volumeZone is where the days of a volume begin: where it says, or else where the catalog says that those
// of subjects without a zone of their own do.
func (c *compiler) volumeZone(s *volumeSpec) *time.Location {
	name := s.zone
	if !name.given() {
		name = c.doc.zone.fallback
	}
	if !name.given() {
		return time.UTC
	}
	zone, err := time.LoadLocation(name.value)
	if err != nil {
		if s.zone.given() {
			c.fail(s.zone.node, nba.CodeInvalid, "unknown time zone %s: use a name of the IANA database, such as Europe/Berlin", quote(s.zone.value))
		}
		return time.UTC
	}
	return zone
}
