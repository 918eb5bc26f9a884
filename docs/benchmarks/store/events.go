package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// eventBytes is the size of one event in JSON, and of one value of etcd.
const eventBytes = 300

// eventCatalog makes every event do something: it sets an attribute, goes into a window's sum, and is looked at by
// a second strategy that takes one in ten.
const eventCatalog = `apiVersion: arbiter/v1
kind: Catalog
name: bench
channels: [{name: sms, direction: outbound, placements: [m]}]
issues: [{name: Grow, groups: [{name: Data}]}]
actions: [{name: extra, issue: Grow, group: Data, value: 3, purpose: service, treatments: [{name: t, channel: sms}]}]
fallback: {action: extra}
events:
  - {name: usage, types: [usage.reported], purpose: service, lateness: 24h, set: {lastUsage: event.data.mb}}
eventStrategies:
  - {name: used, purpose: service, on: [usage], window: {tumbling: 1h}, aggregate: {sum: event.data.mb}}
  - {name: large, purpose: service, on: [usage], filter: event.data.mb >= 900, window: {tumbling: 24h}, aggregate: count}
`

// eventMaker makes events with ids that were never used before.
type eventMaker struct {
	run  string
	fine bool // with milliseconds in the time
	next atomic.Int64
}

// append appends one event of eventBytes.
func (m *eventMaker) append(dst []byte, subject int, random *rand.Rand) []byte {
	from := len(dst)
	dst = append(dst, `{"specversion":"1.0","id":"`...)
	dst = append(append(dst, m.run...), '-')
	dst = strconv.AppendInt(dst, m.next.Add(1), 10)
	dst = append(dst, `","source":"https://network.example/usage","type":"usage.reported","subject":"`...)
	dst = append(dst, key(subject)...)
	dst = append(dst, `","time":"`...)
	layout := time.RFC3339
	if m.fine {
		layout = "2006-01-02T15:04:05.000Z07:00"
	}
	dst = time.Now().UTC().AppendFormat(dst, layout)
	dst = append(dst, `","data":{"mb":`...)
	dst = strconv.AppendInt(dst, random.Int64N(1000), 10)
	dst = append(dst, `,"cell":"`...)
	for bits := random.Uint64(); len(dst)-from < eventBytes-3; bits = bits>>6 | bits<<58 {
		dst = append(dst, alphabet[bits&63])
	}
	return append(dst, `"}}`...)
}

// sendEvents sends a batch of events and demands that each was applied now.
func (c *arbiterCluster) sendEvents(m *eventMaker, subjects int) call {
	return func(client int, random *rand.Rand) (int, error) {
		body := make([]byte, 0, batch*(eventBytes+1)+1)
		for i := range batch {
			body = append(body, "[,"[min(i, 1)])
			body = m.append(body, random.IntN(subjects), random)
		}
		body = append(body, ']')
		return batch, c.exchange(client, fasthttp.MethodPost, "/v1/events", "application/cloudevents-batch+json", body, func(answer []byte) error {
			if !bytes.HasPrefix(answer, fmt.Appendf(nil, `{"accepted":%d,`, batch)) {
				return fmt.Errorf("the events were answered %.300s", answer)
			}
			return nil
		})
	}
}

// putEvents writes a transaction of as many values of the same size.
func (c *etcdCluster) putEvents(ctx context.Context, m *eventMaker, subjects int) call {
	return func(client int, random *rand.Rand) (int, error) {
		bounded, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		seen := make(map[int]bool, batch)
		ops := make([]clientv3.Op, 0, batch)
		for len(ops) < batch {
			if i := random.IntN(subjects); !seen[i] {
				seen[i] = true
				ops = append(ops, clientv3.OpPut(key(i), string(m.append(nil, i, random))))
			}
		}
		_, err := c.clients[client%len(c.clients)].Txn(bounded).Then(ops...).Commit()
		return batch, err
	}
}

// prepareEvents declares what a catalog needs, activates it and stores every subject.
func (c *arbiterCluster) prepareEvents(subjects int, catalog string) error {
	c.connect(6)
	patiently := func(method, path, media string, body []byte, use func([]byte) error) (err error) {
		for range 40 { // groups may still elect their leaders
			if err = c.exchange(0, method, path, media, body, use); err == nil {
				return nil
			}
			time.Sleep(250 * time.Millisecond)
		}
		return err
	}
	if err := patiently(fasthttp.MethodPut, "/v1/attributes", "application/json", []byte(`{"attributes":[{"name":"lastUsage","type":"int","purposes":["service"]},{"name":"plan","type":"string"}]}`), nil); err != nil {
		return err
	}
	version := ""
	if err := patiently(fasthttp.MethodPut, "/v1/catalog", "application/yaml", []byte(catalog), func(answer []byte) error {
		_, rest, _ := strings.Cut(string(answer), `"version":`)
		version, _, _ = strings.Cut(rest, ",")
		return nil
	}); err != nil {
		return err
	}
	if err := patiently(fasthttp.MethodPost, "/v1/catalog/versions/"+strings.Trim(version, " }\n")+"/activate", "", nil, nil); err != nil {
		return err
	}
	const workers, lines = 6, 1000
	return inPieces(subjects, workers, func(worker, from, to int) error {
		for at := from; at < to; at += lines {
			var body []byte
			end := min(at+lines, to)
			for i := at; i < end; i++ {
				body = fmt.Appendf(body, `{"id":%q,"attributes":{"plan":"Month-to-month"},"consents":{"service":true}}`+"\n", key(i))
			}
			if err := c.importWithPatience(worker, body, end-at); err != nil {
				return fmt.Errorf("filling Arbiter: %w", err)
			}
		}
		return nil
	})
}

// events measures batches of events, applied to windows and subjects, beside transactions of etcd that do nothing
// else with the same bytes.
func events(ctx context.Context, s *settings) error {
	ours, err := newArbiter(s, s.groups)
	if err != nil {
		return err
	}
	defer ours.stop()
	if err := ours.start(ctx); err != nil {
		return err
	}
	if err := ours.prepareEvents(s.subjects, eventCatalog); err != nil {
		return err
	}
	var theirs *etcdCluster
	if !s.skipEtcd {
		theirs, err = startEtcd(ctx, s)
		defer theirs.stop()
		if err != nil {
			return err
		}
	}
	maker := &eventMaker{run: strconv.FormatInt(time.Now().UnixMilli(), 36)}
	var contests []*contest
	for _, clients := range s.batches {
		c := &contest{name: fmt.Sprintf("%d events, %d clients", batch, clients), clients: clients, arbiter: ours.sendEvents(maker, s.subjects)}
		if theirs != nil {
			c.etcd = theirs.putEvents(ctx, maker, s.subjects)
		}
		contests = append(contests, c)
	}
	for round := range s.rounds {
		for _, c := range contests {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			from, err := ours.cpu()
			if err != nil {
				return err
			}
			sent := maker.next.Load()
			if err := c.round(ctx, s, ours, theirs, round); err != nil {
				return err
			}
			if to, err := ours.cpu(); err == nil && theirs == nil {
				fmt.Printf("%-28s %.1f µs of processor time an event, in all nodes\n", "", float64((to-from).Microseconds())/float64(maker.next.Load()-sent))
			}
		}
	}
	fmt.Println("\nmedians")
	for _, c := range contests {
		c.report()
	}
	return nil
}
