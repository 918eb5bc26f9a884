package importer

import (
	"bytes"
	"fmt"

	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Answers to channels: columns channel:<name> in canonical CSV, the member channelConsents of canonical
// NDJSON, and channelConsents of a mapping. A record that names any replaces those that are stored, or
// with onExisting: merge adds to them.

const (
	channelPrefix   = "channel:"
	channelConsents = "channelConsents"
)

// channelTarget is a channel and the column that holds the answer to it; a column below 0 is fixed.
type channelTarget struct {
	column  int
	channel string
	fixed   bool
}

// answerChannel notes an answer to a channel of the current record.
func (d *draft) answerChannel(channel string, granted bool) {
	d.channels = append(d.channels, nba.Consent{Channel: channel, State: nba.ConsentOf(granted)})
}

// consents are those that purpose sets cannot hold; nil if the record says nothing of channels.
func (d *draft) consents() record.Consents {
	if !d.namesChannels {
		return nil
	}
	_, _, consents := record.MakeConsents(d.channels)
	return consents
}

func (b *binding) bindChannels(m *Mapping, p *bindProblems, find func(column) int) {
	for _, c := range m.channels {
		switch {
		case !nba.IsChannelName(c.purpose):
			p.add(c.line, nba.CodeInvalid, nba.ChannelNameRule)
		case c.column.name != "":
			b.channels = append(b.channels, channelTarget{column: find(c.column), channel: c.purpose})
		default:
			b.channels = append(b.channels, channelTarget{column: -1, channel: c.purpose, fixed: c.fixed})
		}
	}
}

// bindChannelColumn ties column i of a canonical body to a channel.
func (b *binding) bindChannelColumn(p *bindProblems, i int, channel string) {
	if !nba.IsChannelName(channel) {
		p.add(0, nba.CodeInvalid, fmt.Sprintf("column %s: %s", columnLabel(b.columns, columnID, i), nba.ChannelNameRule))
	}
	b.channels = append(b.channels, channelTarget{column: i, channel: channel})
}

// answerChannels reads the answers to channels of one record. A blank says nothing.
func (b *binding) answerChannels(values [][]byte, out *batch) *problem {
	out.current.namesChannels = len(b.channels) > 0
	for i := range b.channels {
		c := &b.channels[i]
		if c.column < 0 {
			out.current.answerChannel(c.channel, c.fixed)
			continue
		}
		text := bytes.TrimSpace(values[c.column])
		if len(text) == 0 {
			continue
		}
		v, bad := parseScalar(nba.KindBool, text)
		if bad != "" {
			return b.problem(c.column, nba.CodeInvalid, bad)
		}
		out.current.answerChannel(c.channel, v.Bool())
	}
	return nil
}

// channelConsents reads {"sms": true, "web": false}.
func (d *documents) channelConsents(c *jsonCursor, out *batch) *problem {
	if c.peek() != jsonObject {
		return notObject(c, channelConsents)
	}
	out.current.namesChannels = true
	for key, more := c.firstKey(); more; key, more = c.nextKey() {
		channel := string(key)
		if !nba.IsChannelName(channel) {
			return &problem{column: channelConsents, code: nba.CodeInvalid, reason: nba.ChannelNameRule}
		}
		kind, _, ok := c.scalar()
		if !ok {
			return notJSON
		}
		for i := range out.current.channels {
			if out.current.channels[i].Channel == channel {
				return &problem{column: channelPrefix + channel, code: nba.CodeMalformed, reason: "the channel occurs twice"}
			}
		}
		if kind != jsonTrue && kind != jsonFalse {
			return &problem{column: channelPrefix + channel, code: nba.CodeInvalid, reason: wrongJSON[nba.KindBool]}
		}
		out.current.answerChannel(channel, kind == jsonTrue)
	}
	if c.failed() {
		return notJSON
	}
	return nil
}
