package wal

import (
	"fmt"
	"sync"
	"testing"
)

// BenchmarkAppend has groups append entries, each durable before the next.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1 << 10, 256 << 10} {
		for _, groups := range []int{1, 4, 16} {
			b.Run(fmt.Sprintf("bytes=%d/groups=%d", size, groups), func(b *testing.B) {
				l, err := Open(b.TempDir(), Options{Logger: quiet()})
				if err != nil {
					b.Fatal(err)
				}
				defer l.Close()
				data := make([]byte, size)
				b.SetBytes(int64(size))
				var workers sync.WaitGroup
				for i := range groups {
					g, err := l.Group(fmt.Sprint("g", i))
					if err != nil {
						b.Fatal(err)
					}
					workers.Add(1)
					go func() {
						defer workers.Done()
						for i := uint64(1); i <= uint64(b.N/groups+1); i++ {
							if err := g.Append([]Entry{{Index: i, Term: 1, Data: data}}); err != nil {
								b.Error(err)
								return
							}
							if i%64 == 0 {
								if err := g.TruncateHead(i - 32); err != nil {
									b.Error(err)
									return
								}
							}
						}
					}()
				}
				workers.Wait()
				s := l.Stats()
				b.ReportMetric(float64(s.Syncs)/b.Elapsed().Seconds(), "syncs/s")
				b.ReportMetric(float64(s.Records)/float64(s.Syncs), "records/sync")
			})
		}
	}
}

// BenchmarkOpen opens a log of 1 GiB in entries of 16 KiB, of 16 groups.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	l, err := Open(dir, Options{Logger: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	var groups []*Group
	for i := range 16 {
		groups = append(groups, group(b, l, fmt.Sprint("g", i)))
	}
	data := make([]byte, 16<<10)
	entries := make([]Entry, 128)
	for n := range 512 / 16 {
		for _, g := range groups {
			for i := range entries {
				entries[i] = Entry{Index: uint64(n*len(entries) + i + 1), Term: 1, Data: data}
			}
			if err := g.Append(entries); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(1 << 30)
	for b.Loop() {
		if l, err = Open(dir, Options{Logger: quiet()}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if got := l.Stats().LiveBytes; got < 1<<30 {
			b.Fatalf("%d bytes are live", got)
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
