package wasm

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// The compiled-code cache has one folder per module, named by the SHA-256 of the metered bytes, so that
// a damaged entry can be dropped alone and old ones be pruned; wazero's own cache is never evicted.

// ensurePrivate makes dir with mode 0700, or checks that nobody else may write to it.
func ensurePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the compiled-code cache: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("checking the compiled-code cache: %w", err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("the compiled-code cache %s is writable by others; it holds executable code: chmod 700 it", dir)
	}
	return nil
}

// cacheEntry is the folder for one module; it is made or, if it is there, marked as used now.
func cacheEntry(cacheDir string, metered []byte) (string, error) {
	sum := sha256.Sum256(metered)
	dir := filepath.Join(cacheDir, hex.EncodeToString(sum[:]))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("making a cache entry: %w", err)
	}
	now := time.Now()
	if err := os.Chtimes(dir, now, now); err != nil {
		return "", fmt.Errorf("marking a cache entry: %w", err)
	}
	return dir, nil
}

// sealFile holds the SHA-256 of everything else in a cache entry. What is in an entry is executed, and
// wazero guards it by a CRC-32 only, which does not find much of what a disk or an interrupted write may do.
const sealFile = "seal"

// sumEntry is the SHA-256 over the names and contents of all files of an entry but the seal; files is how many
// there are.
func sumEntry(dir string) (sum string, files int, err error) {
	hash := sha256.New()
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil || name == sealFile {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		of := sha256.Sum256(content)
		fmt.Fprintf(hash, "%d %s %x\n", len(name), name, of)
		return nil
	})
	if err != nil {
		return "", 0, fmt.Errorf("reading a cache entry: %w", err)
	}
	return hex.EncodeToString(hash.Sum(nil)), files, nil
}

// sealEntry notes what is in an entry that is complete.
func sealEntry(dir string) error {
	sum, files, err := sumEntry(dir)
	if err != nil || files == 0 {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, sealFile), []byte(sum), 0o600); err != nil {
		return fmt.Errorf("sealing a cache entry: %w", err)
	}
	return nil
}

// checkEntry tells whether an entry may be used. One that is not as it was sealed, or was not finished, is
// emptied.
func checkEntry(dir string) (usable bool, err error) {
	sum, files, err := sumEntry(dir)
	if err != nil {
		return false, err
	}
	seal, err := os.ReadFile(filepath.Join(dir, sealFile))
	switch {
	case err == nil && files > 0 && string(seal) == sum:
		return true, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("reading a cache entry: %w", err)
	case err != nil && files == 0:
		return false, nil
	}
	return false, dropEntry(dir)
}

func dropEntry(dir string) error {
	return errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700))
}

// pruneCache removes the entries that were not used for the longest time, down to keep.
func pruneCache(cacheDir string, keep int) error {
	entries, err := os.ReadDir(cacheDir)
	if err != nil {
		return err
	}
	type aged struct {
		name string
		used time.Time
	}
	var dirs []aged
	for _, entry := range entries {
		if _, err := hex.DecodeString(entry.Name()); err != nil || len(entry.Name()) != 2*sha256.Size || !entry.IsDir() {
			continue // not ours
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		dirs = append(dirs, aged{entry.Name(), info.ModTime()})
	}
	if len(dirs) <= keep {
		return nil
	}
	slices.SortFunc(dirs, func(a, b aged) int { return a.used.Compare(b.used) })
	var errs []error
	for _, dir := range dirs[:len(dirs)-keep] {
		errs = append(errs, os.RemoveAll(filepath.Join(cacheDir, dir.name)))
	}
	return errors.Join(errs...)
}
