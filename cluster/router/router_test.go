package router

import (
	"context"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func openTest(t testing.TB, dir string, change func(*Options)) *Router {
	t.Helper()
	o := Options{Dir: dir, DataGroups: 2}
	if change != nil {
		change(&o)
	}
	r, err := Open(context.Background(), o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return r
}

func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	start := time.Now()
	r := openTest(t, dir, nil)
	t.Log("open", time.Since(start))
	ref := nba.SubjectRef{ID: "a", Type: nba.Subscriber}
	v, created, err := r.PutSubject(ctx, ref, []record.Attr{{ID: 3, Value: nba.String("x")}}, 1, 2, nil)
	t.Log(v, created, err)
	start = time.Now()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	t.Log("close", time.Since(start))
	start = time.Now()
	r = openTest(t, dir, nil)
	t.Log("open", time.Since(start))
	if err := r.View(ref, func(s nba.Subject) error {
		v, ok := s.Attribute(3)
		t.Log(s.Version(), v.Str(), ok, s.Granted())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
