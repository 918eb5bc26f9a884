package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// DefaultBootIDPath is where Linux tells which boot of the machine this is.
const DefaultBootIDPath = "/proc/sys/kernel/random/boot_id"

const trustFormat = 1

// Trust is the mark beside a store that is not synced at commits. Such a file survives the death of
// the process, whose writes the kernel still has, but not that of the machine: opened after a power
// cut it may fault. So it is used again only after a clean close, or within the same boot.
type Trust struct {
	path   string
	bootID string
}

type trustMark struct {
	Format int    `json:"format"`
	BootID string `json:"bootId"`
	Clean  bool   `json:"clean"`
	// Incomplete is true while the file is being made again.
	Incomplete bool `json:"incomplete,omitempty"`
}

// CheckTrust reads the mark at path. believe tells whether the file it stands beside may be opened:
// after a clean close, within the same boot, or always when every commit is synced, unless Distrust
// was called. Where the boot id cannot be read, another boot is assumed.
func CheckTrust(path, bootIDPath string, synced bool) (trust *Trust, believe bool, err error) {
	trust = &Trust{path: path}
	if id, err := os.ReadFile(bootIDPath); err == nil {
		trust.bootID = strings.TrimSpace(string(id))
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return trust, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading the trust mark: %w", err)
	}
	var mark trustMark
	if json.Unmarshal(raw, &mark) != nil || mark.Format != trustFormat {
		return trust, false, nil // a mark that cannot be read vouches for nothing
	}
	sameBoot := mark.BootID != "" && mark.BootID == trust.bootID
	return trust, !mark.Incomplete && (mark.Clean || sameBoot || synced), nil
}

// Distrust marks the file as incomplete until Opened or Closed.
func (t *Trust) Distrust() error { return t.write(trustMark{Incomplete: true}) }

// Opened marks the file as in use. Call it before the file is opened.
func (t *Trust) Opened() error { return t.write(trustMark{}) }

// Closed marks the file as complete and durable. Call it after Store.Close succeeded.
func (t *Trust) Closed() error { return t.write(trustMark{Clean: true}) }

func (t *Trust) write(mark trustMark) error {
	mark.Format, mark.BootID = trustFormat, t.bootID
	raw, err := json.Marshal(mark)
	if err != nil {
		return fmt.Errorf("encoding the trust mark: %w", err)
	}
	return writeFile(t.path, append(raw, '\n'), 0o600)
}

// writeFile replaces the file at path durably: it holds either the old or the new bytes, whatever
// happens.
func writeFile(path string, content []byte, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return fmt.Errorf("creating %s: %w", filepath.Base(path), err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("writing %s: %w", filepath.Base(path), err), os.Remove(f.Name()))
		}
	}()
	_, writeErr := f.Write(content)
	if err := errors.Join(writeErr, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncFolder(filepath.Dir(path))
}

// MakeFolder creates a folder, if it does not exist, so that it is still there after a power cut.
func MakeFolder(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("creating a folder: %w", err)
	}
	return SyncFolder(filepath.Dir(path))
}

// SyncFolder makes the names in a folder durable.
func SyncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("opening a folder to sync it: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("syncing a folder: %w", err)
	}
	return nil
}
