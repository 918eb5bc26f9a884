package command

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// KeptStrategies is what strategies made of a decision: AppendStrategies.
const KeptStrategies SectionTag = 30

// AppendStrategies appends the body of KeptStrategies: nothing where no strategy arranged a placement. The
// content of a proposition in placements is what its strategy added to that of the treatment. The body is
// the number of placements; of each its position, then name, version and digest of the strategy, the number
// of propositions, and of each the weight and the number of fields, each with name and text.
func AppendStrategies(dst []byte, placements []nba.PlacementPropositions) []byte {
	arranged := 0
	for i := range placements {
		if placements[i].Strategy != nil {
			arranged++
		}
	}
	if arranged == 0 {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(arranged))
	for i := range placements {
		p := &placements[i]
		if p.Strategy == nil {
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(i))
		for _, text := range [...]string{p.Strategy.Name, p.Strategy.Version, p.Strategy.Digest} {
			dst = appendText(dst, text)
		}
		dst = binary.AppendUvarint(dst, uint64(len(p.Items)))
		for j := range p.Items {
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(p.Items[j].StrategyWeight))
			dst = appendFields(dst, p.Items[j].Content)
		}
	}
	return dst
}

func appendFields(dst []byte, fields map[string]string) []byte {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	dst = binary.AppendUvarint(dst, uint64(len(names)))
	for _, name := range names {
		dst = appendText(appendText(dst, name), fields[name])
	}
	return dst
}

// DecodeStrategies reads what AppendStrategies wrote into the same placements without it.
func DecodeStrategies(body []byte, placements []nba.PlacementPropositions) error {
	r := reader{rest: body}
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		at := r.uvarint()
		strategy := &nba.ModelInfo{Name: strings.Clone(r.text(maxText)), Version: strings.Clone(r.text(maxText)), Digest: strings.Clone(r.text(maxText))}
		items := r.uvarint()
		if r.bad = r.bad || at >= uint64(len(placements)) || items != uint64(len(placements[at].Items)); r.bad {
			break
		}
		p := &placements[at]
		p.Strategy = strategy
		for j := range p.Items {
			p.Items[j].StrategyWeight = r.f64()
			p.Items[j].Content = r.fields()
		}
	}
	return r.end()
}

// maxFieldText bounds a name and a text of the content that a strategy adds.
const maxFieldText = 1024

func (r *reader) fields() map[string]string {
	n := r.uvarint()
	if n == 0 || r.bad {
		return nil
	}
	fields := map[string]string{}
	for ; n > 0 && !r.bad; n-- {
		name := strings.Clone(r.text(maxFieldText))
		fields[name] = strings.Clone(r.text(maxFieldText))
	}
	return fields
}
