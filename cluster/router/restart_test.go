package router

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const childFillEnv = "ARBITER_TEST_FILL"

const restartSubjects = 1_000_000

func restartOptions(dir string) Options {
	return Options{Dir: dir, DataGroups: 16, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

// fillMain imports subjects if there are none, and then writes them again at random until it is killed.
func fillMain(dir string) int {
	r, err := Open(context.Background(), restartOptions(dir))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx := context.Background()
	const batch = 5000
	if r.Subjects() == 0 {
		for at := 0; at < restartSubjects; at += batch {
			if err := r.Import(ctx, testWrites(at, batch)); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
	}
	fmt.Println("filled")
	for {
		if err := r.Import(ctx, testWrites(rand.IntN(restartSubjects-batch), batch)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
}

// BenchmarkRestart kills a node of 1,000,000 subjects while it is written, and measures until it serves
// again, with its files in memory and not. Run it alone, with -benchtime 1x; it takes minutes.
func BenchmarkRestart(b *testing.B) {
	if testing.Short() {
		b.Skip("it takes minutes")
	}
	for b.Loop() {
		dir := filepath.Join(b.TempDir(), "data")
		for _, cold := range []bool{false, true, false, true} {
			killFilling(b, dir)
			if cold {
				forget(b, dir)
			}
			start := time.Now()
			r, err := Open(context.Background(), restartOptions(dir))
			if err != nil {
				b.Fatal(err)
			}
			opened := time.Since(start)
			for range 1000 {
				reading, err := r.Acquire(testRef(rand.IntN(restartSubjects)))
				if err != nil {
					b.Fatal(err)
				}
				reading.Release()
			}
			b.Logf("killed under load, cold %v: ready after %s, with 1,000 reads %s; %d subjects", cold, opened, time.Since(start), r.Subjects())
			if err := r.Close(); err != nil {
				b.Fatal(err)
			}
			start = time.Now()
			if r, err = Open(context.Background(), restartOptions(dir)); err != nil {
				b.Fatal(err)
			}
			b.Logf("after a clean stop: ready after %s", time.Since(start))
			if err := r.Close(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func killFilling(b *testing.B, dir string) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childFillEnv+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	if lines := bufio.NewScanner(out); !lines.Scan() || lines.Text() != "filled" {
		b.Fatal("the child did not fill the folder")
	}
	time.Sleep(8 * time.Second)
	if err := child.Process.Kill(); err != nil {
		b.Fatal(err)
	}
	_ = child.Wait() // it was killed
}

// forget drops the files of a folder from memory.
func forget(b *testing.B, dir string) {
	unix.Sync()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			return err
		}
		return f.Close()
	})
	if err != nil {
		b.Fatal(err)
	}
}
