// Package config holds the settings of a node and where they come from: defaults, then a YAML file,
// then ARBITER_* environment variables, then command line flags, the later winning.
//
// Every setting is one line in settings.go, which gives its key in the file, its environment variable,
// its flag and its meaning. Load reports every problem at once, each with its place.
package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/telemetry"
)

// Config is all settings of one node.
type Config struct {
	Data     Data
	API      Listener
	Admin    Listener
	Cluster  Cluster
	TLS      TLS
	Auth     Auth
	Plugins  Plugins
	Backup   Backup
	Limits   Limits
	Timeouts Timeouts
	Log      Log
	// Streams are Kafka topics whose messages are events; see lists.go.
	Streams []*Stream
	// Sinks are where deliveries go; see lists.go.
	Sinks    []*Sink
	Delivery Delivery
}

// Data is where and how state rests.
type Data struct {
	Dir string
	// Groups is the number of data groups of a new data folder; an existing one keeps its own. 0 means
	// 2 for a node that stands alone and 16 in a cluster.
	Groups int
}

// DataGroups is the number of data groups of a new data folder, with the default filled in.
func (c *Config) DataGroups() int {
	switch {
	case c.Data.Groups != 0:
		return c.Data.Groups
	case c.Cluster.NodeID != "":
		return 16
	default:
		return 2
	}
}

// Listener is one TCP listener.
type Listener struct {
	Addr string // host:port
}

// TLS names the files that secure the node's listeners. They may be exchanged while it runs.
type TLS struct {
	Cert string // the node's certificate, PEM; empty: plain HTTP
	Key  string // its key
	CA   string // the authorities whose certificates the nodes of the cluster show each other
}

// Auth says who may call the API.
type Auth struct {
	Required bool // callers prove who they are with an API key or an OIDC token
	OIDC     OIDC
}

// OIDC is an OpenID Connect provider whose tokens are taken.
type OIDC struct {
	Issuer     string // https URL; empty: none
	Audience   string // what the tokens must be made for
	RolesClaim string // the claim that lists the roles
	CA         string // authorities to trust for the provider besides those of the system, PEM
}

func (a *Auth) validate(p *problems) {
	switch {
	case a.OIDC.Issuer != "" && !a.Required:
		p.key("auth.required", "must be true for the tokens of auth.oidc.issuer to matter")
	case a.OIDC.Issuer != "" && !strings.HasPrefix(a.OIDC.Issuer, "https://") && !strings.HasPrefix(a.OIDC.Issuer, "http://127.0.0.1"):
		p.key("auth.oidc.issuer", "must be an https URL")
	case a.OIDC.Issuer != "" && a.OIDC.Audience == "":
		p.key("auth.oidc.audience", "is missing: tokens that are made for others must not be taken")
	case a.OIDC.Issuer != "" && a.OIDC.RolesClaim == "":
		p.key("auth.oidc.rolesClaim", "is missing: name the claim that lists the roles")
	}
}

// On tells whether the listeners are secured.
func (t *TLS) On() bool { return t.Cert != "" }

func (t *TLS) validate(p *problems, cluster *Cluster) {
	switch {
	case t.Cert != "" && t.Key == "":
		p.key("tls.key", "is missing: name the key of the certificate in tls.cert")
	case t.Cert == "" && t.Key != "":
		p.key("tls.cert", "is missing: name the certificate of the key in tls.key")
	case t.Cert == "" && t.CA != "":
		p.key("tls.cert", "is missing: with tls.ca the node shows a certificate too")
	case t.Cert != "" && t.CA == "" && cluster.NodeID != "":
		p.key("tls.ca", "is missing: the nodes of a cluster check each other's certificates")
	}
}

// Limits bound what one request may hold.
type Limits struct {
	HeaderBytes  int // request line and headers: 431 beyond
	BodyBytes    int // any other body: 413 beyond
	CatalogBytes int // PUT /v1/catalog and POST /v1/catalog/validate
	PluginBytes  int // POST /v1/plugins, on both listeners
	ImportBytes  int // POST /v1/subjects/import on the API port; the admin listener has no bound
	Connections  int // open connections of the API port
	Uploads      int // bodies larger than BodyBytes that the API port receives at once: 429 beyond
	// ImportResults bounds the bad lines that one reply on the API port lists; further ones are
	// counted in the summary alone.
	ImportResults int
}

// Timeouts bound how long one request may take.
type Timeouts struct {
	Read       time.Duration // from the first byte of a request to its last
	UploadRead time.Duration // the same for catalog, plugin and import bodies
	Write      time.Duration // of one response
	Idle       time.Duration // between the requests of a connection

	Decision    time.Duration // deadline of a decision whose caller names none
	MaxDecision time.Duration // the longest deadline a caller may name
	Request     time.Duration // deadline of reads and writes of subjects and responses
	Admin       time.Duration // deadline of catalog, plugin and dictionary changes
	Import      time.Duration // deadline of an import on the API port
	// ImportStall ends an import on the admin listener whose sender is silent for so long.
	ImportStall time.Duration
	Shutdown    time.Duration // for the requests under way when the node is told to stop
}

// Plugins is what the operator lets plugins be and do.
type Plugins struct {
	Unsigned string // UnsignedRefuse or UnsignedAllow
	// Capabilities are the host functions that plugins are granted, separated by commas; "none" grants none.
	Capabilities string
}

// What happens to artifacts that no trusted key signed.
const (
	UnsignedRefuse = "refuse"
	UnsignedAllow  = "allow"
)

// noCapabilities grants nothing.
const noCapabilities = "none"

// Granted are the capabilities that plugins are granted; not nil.
func (p *Plugins) Granted() []string {
	granted := []string{}
	for name := range strings.SplitSeq(p.Capabilities, ",") {
		if name = strings.TrimSpace(name); name != "" && name != noCapabilities {
			granted = append(granted, name)
		}
	}
	return granted
}

func (p *Plugins) validate(problems *problems) {
	if p.Unsigned != UnsignedRefuse && p.Unsigned != UnsignedAllow {
		problems.key("plugins.unsigned", "must be "+UnsignedRefuse+" or "+UnsignedAllow)
	}
	for _, name := range p.Granted() {
		if !slices.Contains(artifact.Capabilities(), name) {
			problems.key("plugins.capabilities", "must be "+noCapabilities+" or names among "+strings.Join(artifact.Capabilities(), ", ")+", separated by commas")
			return
		}
	}
}

// Log is how the node logs.
type Log struct {
	Level  string // debug, info, warn or error
	Format string // text or json
}

// Default is the documented defaults. Data.Dir has none.
func Default() Config {
	return Config{
		API: Listener{Addr: "127.0.0.1:8080"}, Admin: Listener{Addr: "127.0.0.1:8081"},
		Cluster: Cluster{Replicas: 3, ReplaceAfter: 10 * time.Minute}, Auth: Auth{OIDC: OIDC{RolesClaim: "roles"}},
		Plugins: Plugins{Unsigned: UnsignedRefuse, Capabilities: strings.Join(artifact.Capabilities(), ",")},
		Backup:  Backup{Interval: time.Hour, Keep: 48},
		Limits: Limits{
			HeaderBytes: 16 << 10, BodyBytes: 1 << 20, CatalogBytes: 4 << 20, PluginBytes: 16 << 20,
			ImportBytes: 32 << 20, Connections: 16384, Uploads: 8, ImportResults: 100_000,
		},
		Timeouts: Timeouts{
			Read: 5 * time.Second, UploadRead: time.Minute, Write: 10 * time.Second, Idle: time.Minute,
			Decision: time.Second, MaxDecision: 30 * time.Second, Request: 5 * time.Second,
			Admin: time.Minute, Import: 5 * time.Minute, ImportStall: 30 * time.Second, Shutdown: 10 * time.Second,
		},
		Log: Log{Level: "info", Format: string(telemetry.FormatText)},
	}
}

// Validate reports every setting that cannot be used, as an *nba.Error with one Detail each whose
// Pointer is the key, such as /api/addr.
func (c Config) Validate() error {
	p := &problems{}
	c.validate(p)
	return p.err()
}

func (c *Config) validate(p *problems) {
	if c.Data.Dir == "" {
		p.key("data.dir", "is missing: name the folder that holds this node's data")
	}
	p.between("data.groups", c.Data.Groups, 0, 64)
	guarded := c.TLS.On() && c.Auth.Required
	p.address("api.addr", c.API.Addr, guarded)
	p.address("admin.addr", c.Admin.Addr, guarded)
	if _, port, err := net.SplitHostPort(c.API.Addr); err == nil && port != "0" && c.API.Addr == c.Admin.Addr {
		p.key("admin.addr", "is the same as api.addr: choose another port")
	}
	c.Cluster.validate(p, c.TLS.On() && c.TLS.CA != "")
	c.TLS.validate(p, &c.Cluster)
	c.Auth.validate(p)
	c.Plugins.validate(p)
	c.Backup.validate(p)
	validateStreams(p, c.Streams)
	validateSinks(p, c.Sinks, c.Delivery.DefaultSink)
	c.Limits.validate(p)
	c.Timeouts.validate(p)
	if _, err := telemetry.ParseLevel(c.Log.Level); err != nil {
		p.key("log.level", "must be debug, info, warn or error")
	}
	if _, err := telemetry.ParseFormat(c.Log.Format); err != nil {
		p.key("log.format", "must be text or json")
	}
}

func (l *Limits) validate(p *problems) {
	const kib, mib = 1 << 10, 1 << 20
	p.between("limits.headerBytes", l.HeaderBytes, kib, mib)
	p.between("limits.bodyBytes", l.BodyBytes, 64*kib, 64*mib)
	p.between("limits.catalogBytes", l.CatalogBytes, 64*kib, 64*mib)
	p.between("limits.pluginBytes", l.PluginBytes, 64*kib, 256*mib)
	p.between("limits.importBytes", l.ImportBytes, 64*kib, 256*mib)
	p.between("limits.connections", l.Connections, 1, 1<<20)
	p.between("limits.uploads", l.Uploads, 1, 1024)
	p.between("limits.importResults", l.ImportResults, 0, 1<<20)
}

func (t *Timeouts) validate(p *problems) {
	const longest = time.Hour
	for _, timeout := range []struct {
		key   string
		value time.Duration
	}{
		{"timeouts.read", t.Read}, {"timeouts.uploadRead", t.UploadRead}, {"timeouts.write", t.Write}, {"timeouts.idle", t.Idle},
		{"timeouts.decision", t.Decision}, {"timeouts.maxDecision", t.MaxDecision}, {"timeouts.request", t.Request},
		{"timeouts.admin", t.Admin}, {"timeouts.import", t.Import}, {"timeouts.importStall", t.ImportStall}, {"timeouts.shutdown", t.Shutdown},
	} {
		if timeout.value < time.Millisecond || timeout.value > longest {
			p.key(timeout.key, "must be a duration from 1ms to 1h, such as 5s")
		}
	}
	if t.Decision > t.MaxDecision {
		p.key("timeouts.decision", "is longer than timeouts.maxDecision")
	}
}

// address checks where a listener is. Only a guarded one may be beyond loopback: without TLS and proof of
// who calls, whoever reaches the port reads and changes customer data.
func (p *problems) address(key, addr string, guarded bool) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		p.key(key, "must be host:port, such as 127.0.0.1:8080")
		return
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		p.key(key, "must end in a port number from 0 to 65535; 0 takes a free one")
		return
	}
	if host == "localhost" || guarded {
		return
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.Unmap().IsLoopback() {
		p.key(key, "reaches beyond loopback without a guard: set tls.cert and tls.key, and auth.required (for other nodes, tls.ca), "+
			"or listen on 127.0.0.1, ::1 or localhost")
	}
}

// problems collects what is wrong, each with its place.
type problems struct {
	details []nba.Detail
	places  map[string]nba.Detail // where each key was set last
}

func (p *problems) add(d nba.Detail) {
	d.Code = nba.CodeInvalid
	p.details = append(p.details, d)
}

// key records a problem of a setting, at the place that set it.
func (p *problems) key(key, what string) {
	d := p.places[key] // the zero Detail when the default stands
	if d.File == "" {
		d.Pointer = pointerOf(key)
	}
	d.Detail = key + " " + what
	if d.File != "" && d.Line == 0 { // an environment variable or a flag
		d.Detail = d.File + ": " + d.Detail
		d.File, d.Pointer = "", pointerOf(key)
	}
	p.add(d)
}

func (p *problems) between(key string, value, low, high int) {
	if value < low || value > high {
		p.key(key, fmt.Sprintf("must be from %d to %d", low, high))
	}
}

func (p *problems) err() error {
	if len(p.details) == 0 {
		return nil
	}
	message := "the configuration has a problem"
	if n := len(p.details); n > 1 {
		message = fmt.Sprintf("the configuration has %d problems", n)
	}
	return &nba.Error{Code: nba.CodeInvalid, Message: message, Details: p.details}
}
