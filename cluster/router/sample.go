package router

import (
	"cmp"
	"container/heap"
	"context"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Sample is a choice of the subjects in the groups that this node keeps.
type Sample struct {
	// Subjects are in an order that depends on nothing but them and the seed.
	Subjects []nba.SubjectRef
	// Population is the number of subjects in these groups, Groups how many those are, and AllGroups the
	// number of data groups of the cluster.
	Population        int64
	Groups, AllGroups int
}

// scanAtOnce is how many subjects are read before the store is given back for a moment.
const scanAtOnce = 2048

// Sample chooses at most most subjects by the hash of their keys with seed: the same subjects give the same
// choice, and one that is larger holds the smaller. between is called between short readings, for whoever
// wants to go slowly; its error ends the choice.
func (r *Router) Sample(ctx context.Context, seed uint64, most int, between func(context.Context) error) (Sample, error) {
	sample := Sample{AllGroups: len(r.groups())}
	afterSubjects := []byte{0xff} // keys begin with the number of a subject type
	var chosen lowest
	var hash xxhash.Digest
	for _, d := range r.groups() {
		if d.machine == nil {
			continue
		}
		sample.Groups++
		var from []byte
		for more := true; more; {
			if err := between(ctx); err != nil {
				return sample, err
			}
			reader, err := d.machine.Store().Acquire()
			if err != nil {
				return sample, storeError(err)
			}
			read := 0
			reader.ScanBetween(store.Subjects, from, afterSubjects, func(key, _ []byte) bool {
				sample.Population++
				hash.ResetWithSeed(seed)
				_, _ = hash.Write(key) // never fails
				chosen.offer(key, hash.Sum64(), most)
				from = append(append(from[:0], key...), 0)
				read++
				return read < scanAtOnce
			})
			reader.Release()
			more = read == scanAtOnce
		}
	}
	slices.SortFunc(chosen, func(a, b weighed) int { return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.key, b.key)) })
	for _, subject := range chosen {
		if ref, ok := command.ParseSubjectKey([]byte(subject.key)); ok {
			sample.Subjects = append(sample.Subjects, ref)
		}
	}
	return sample, nil
}

// AcquireAny lends a subject from the replica here, however old that is.
func (r *Router) AcquireAny(ref nba.SubjectRef) (*Reading, error) {
	d := r.byRef(ref)
	if d.machine == nil {
		return nil, d.readable()
	}
	return r.lend(d, ref)
}

type weighed struct {
	hash uint64
	key  string
}

// lowest is a heap of the subjects with the lowest hashes, the highest of them first.
type lowest []weighed

func (l *lowest) offer(key []byte, hash uint64, most int) {
	switch {
	case len(*l) < most:
		heap.Push(l, weighed{hash, string(key)})
	case len(*l) > 0 && hash < (*l)[0].hash:
		(*l)[0] = weighed{hash, string(key)}
		heap.Fix(l, 0)
	}
}

func (l lowest) Len() int           { return len(l) }
func (l lowest) Less(i, j int) bool { return l[i].hash > l[j].hash }
func (l lowest) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }

// Push implements heap.Interface.
func (l *lowest) Push(x any) { *l = append(*l, x.(weighed)) }

// Pop implements heap.Interface.
func (l *lowest) Pop() any {
	last := (*l)[len(*l)-1]
	*l = (*l)[:len(*l)-1]
	return last
}
