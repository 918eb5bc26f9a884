package config

import "time"

// Backup is how the cluster backs itself up.
type Backup struct {
	Dir      string        // folder of the backups; empty: none are made
	Interval time.Duration // from the beginning of one to that of the next
	Keep     int           // how many are kept
	KeyFile  string        // holds the key that encrypts them; empty: not encrypted
}

func (b *Backup) validate(p *problems) {
	const least, longest, most = time.Minute, 31 * 24 * time.Hour, 10_000
	if b.Interval < least || b.Interval > longest {
		p.key("backup.interval", "must be a duration from 1m to 744h, such as 1h")
	}
	p.between("backup.keep", b.Keep, 1, most)
	if b.KeyFile != "" && b.Dir == "" {
		p.key("backup.dir", "is missing: name the folder of the backups that backup.keyFile encrypts")
	}
}
