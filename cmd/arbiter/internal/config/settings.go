package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Setting describes one setting to those who make flags and documentation of it.
type Setting struct {
	Key     string // in the file, such as data.dir
	Env     string // environment variable, such as ARBITER_DATA_DIR
	Flag    string // without dashes, such as data-dir
	Usage   string // one line
	Default string // in the form that the file takes
}

// Settings are all settings, in the order of the documentation.
func Settings() []Setting {
	c := Default()
	var list []Setting
	for _, s := range c.settings() {
		list = append(list, Setting{Key: s.key, Env: envOf(s.key), Flag: flagOf(s.key), Usage: s.usage, Default: s.value.String()})
	}
	return list
}

// setting ties a key to its field.
type setting struct {
	key   string
	usage string
	value value
}

// value reads and writes a field as text.
type value interface {
	Set(text string) error // the error says what is expected
	String() string
}

// settings are those of c.
func (c *Config) settings() []setting {
	return []setting{
		{"data.dir", "folder that holds this node's data", (*textValue)(&c.Data.Dir)},
		{"data.groups", "data groups (shards) of a new data folder; 0 is 2 for a node alone, 16 in a cluster", (*intValue)(&c.Data.Groups)},
		{"api.addr", "host:port of the API; loopback only", (*textValue)(&c.API.Addr)},
		{"admin.addr", "host:port of health, metrics and profiles; loopback only", (*textValue)(&c.Admin.Addr)},

		{"cluster.nodeId", "name of this node in its cluster; empty for a node that stands alone", (*textValue)(&c.Cluster.NodeID)},
		{"cluster.addr", "host:port that the other nodes reach; its entry in cluster.nodes if empty", (*textValue)(&c.Cluster.Addr)},
		{"cluster.nodes", "the nodes that found the cluster, as n1=host:port,n2=host:port,n3=host:port; the same on each of them", (*textValue)(&c.Cluster.Nodes)},
		{"cluster.join", "join a running cluster: host:port of some of its nodes, or dns:NAME:PORT, separated by commas", (*textValue)(&c.Cluster.Join)},
		{"cluster.zone", "where this node stands; the replicas of a group are spread over zones", (*textValue)(&c.Cluster.Zone)},
		{"cluster.replaceAfter", "how long a node must be away before what it keeps is made anew on others; 0 for never", (*durationValue)(&c.Cluster.ReplaceAfter)},
		{"cluster.id", "name of the cluster, so that nodes of another are refused; made from the nodes if empty", (*textValue)(&c.Cluster.ID)},
		{"cluster.replicas", "nodes that keep each data group, at most all of them", (*intValue)(&c.Cluster.Replicas)},

		{"tls.cert", "certificate of this node, a PEM file (arbiter tls cert); empty for plain HTTP on loopback", (*textValue)(&c.TLS.Cert)},
		{"tls.key", "key of the certificate, a PEM file", (*textValue)(&c.TLS.Key)},
		{"tls.ca", "authorities that sign the certificates of all nodes, a PEM file", (*textValue)(&c.TLS.CA)},

		{"auth.required", "true: callers prove who they are, with an API key (arbiter key) or an OIDC token", (*boolValue)(&c.Auth.Required)},
		{"auth.oidc.issuer", "OpenID Connect provider whose tokens are taken, an https URL; empty for none", (*textValue)(&c.Auth.OIDC.Issuer)},
		{"auth.oidc.audience", "what the tokens must be made for", (*textValue)(&c.Auth.OIDC.Audience)},
		{"auth.oidc.rolesClaim", "claim of the tokens that lists the roles", (*textValue)(&c.Auth.OIDC.RolesClaim)},
		{"auth.oidc.ca", "authorities to trust for the provider besides those of the system, a PEM file", (*textValue)(&c.Auth.OIDC.CA)},

		{"plugins.unsigned", "refuse, or allow plugins that no trusted key signed (arbiter plugin keys)", (*textValue)(&c.Plugins.Unsigned)},
		{"plugins.capabilities", "host functions that plugins are granted, separated by commas; none for none", (*textValue)(&c.Plugins.Capabilities)},

		{"backup.dir", "folder, the same for all nodes, that the cluster backs itself up into; empty for no scheduled backups", (*textValue)(&c.Backup.Dir)},
		{"backup.interval", "time from one backup to the next", (*durationValue)(&c.Backup.Interval)},
		{"backup.keep", "how many backups are kept", (*intValue)(&c.Backup.Keep)},
		{"backup.keyFile", "encrypt backups with the key in this file, 64 hexadecimal digits; empty for not encrypted", (*textValue)(&c.Backup.KeyFile)},

		{"delivery.defaultSink", "sink of channels whose catalog names none, such as log; empty: nothing is decided for them", (*textValue)(&c.Delivery.DefaultSink)},
		{"limits.headerBytes", "longest request line with headers", (*bytesValue)(&c.Limits.HeaderBytes)},
		{"limits.bodyBytes", "largest request body of any other kind", (*bytesValue)(&c.Limits.BodyBytes)},
		{"limits.catalogBytes", "largest catalog document", (*bytesValue)(&c.Limits.CatalogBytes)},
		{"limits.pluginBytes", "largest plugin artifact", (*bytesValue)(&c.Limits.PluginBytes)},
		{"limits.importBytes", "largest import body on the API port", (*bytesValue)(&c.Limits.ImportBytes)},
		{"limits.connections", "most open connections of the API port", (*intValue)(&c.Limits.Connections)},
		{"limits.uploads", "most large bodies that the API port receives at once", (*intValue)(&c.Limits.Uploads)},
		{"limits.importResults", "most bad lines that one import reply lists", (*intValue)(&c.Limits.ImportResults)},

		{"timeouts.read", "longest time to receive a request", (*durationValue)(&c.Timeouts.Read)},
		{"timeouts.uploadRead", "longest time to receive a catalog, plugin or import", (*durationValue)(&c.Timeouts.UploadRead)},
		{"timeouts.write", "longest time to send a response", (*durationValue)(&c.Timeouts.Write)},
		{"timeouts.idle", "longest silence between the requests of a connection", (*durationValue)(&c.Timeouts.Idle)},
		{"timeouts.decision", "deadline of a decision whose caller names none", (*durationValue)(&c.Timeouts.Decision)},
		{"timeouts.maxDecision", "longest deadline a caller of a decision may name", (*durationValue)(&c.Timeouts.MaxDecision)},
		{"timeouts.request", "deadline of reads and writes of subjects and responses", (*durationValue)(&c.Timeouts.Request)},
		{"timeouts.admin", "deadline of catalog, plugin and dictionary changes", (*durationValue)(&c.Timeouts.Admin)},
		{"timeouts.import", "deadline of an import on the API port", (*durationValue)(&c.Timeouts.Import)},
		{"timeouts.importStall", "longest silence of the sender of a streamed import", (*durationValue)(&c.Timeouts.ImportStall)},
		{"timeouts.shutdown", "time for the requests under way at a shutdown", (*durationValue)(&c.Timeouts.Shutdown)},

		{"log.level", "debug, info, warn or error", (*textValue)(&c.Log.Level)},
		{"log.format", "text or json", (*textValue)(&c.Log.Format)},
	}
}

type textValue string

func (v *textValue) Set(text string) error { *v = textValue(text); return nil }
func (v *textValue) String() string        { return string(*v) }

type boolValue bool

func (v *boolValue) Set(text string) error {
	switch text {
	case "true":
		*v = true
	case "false":
		*v = false
	default:
		return fmt.Errorf("must be true or false")
	}
	return nil
}

func (v *boolValue) String() string { return strconv.FormatBool(bool(*v)) }

type intValue int

func (v *intValue) Set(text string) error {
	n, err := strconv.Atoi(strings.ReplaceAll(text, "_", ""))
	if err != nil {
		return fmt.Errorf("must be a whole number")
	}
	*v = intValue(n)
	return nil
}

func (v *intValue) String() string { return strconv.Itoa(int(*v)) }

type durationValue time.Duration

func (v *durationValue) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("must be a duration with its unit, such as 250ms, 5s or 2m")
	}
	*v = durationValue(d)
	return nil
}

func (v *durationValue) String() string { return time.Duration(*v).String() }

// bytesValue is a number of bytes, written with or without the unit KiB, MiB or GiB.
type bytesValue int

// byteUnits are in the order of String's preference.
var byteUnits = [...]struct {
	name  string
	shift int
}{{"GiB", 30}, {"MiB", 20}, {"KiB", 10}}

func (v *bytesValue) Set(text string) error {
	shift := 0
	for _, unit := range byteUnits {
		if number, ok := strings.CutSuffix(text, unit.name); ok {
			text, shift = strings.TrimSpace(number), unit.shift
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64>>shift {
		return fmt.Errorf("must be a number of bytes, with or without the unit KiB, MiB or GiB")
	}
	*v = bytesValue(n << shift)
	return nil
}

func (v *bytesValue) String() string {
	for _, unit := range byteUnits {
		if n := int(*v); n > 0 && n%(1<<unit.shift) == 0 {
			return strconv.Itoa(n>>unit.shift) + unit.name
		}
	}
	return strconv.Itoa(int(*v))
}

// words splits a key at its dots and capitals, in lower case.
func words(key string) []string {
	var list []string
	word := ""
	for _, r := range key {
		if r == '.' || r >= 'A' && r <= 'Z' {
			list = append(list, word)
			word = ""
		}
		if r != '.' {
			word += strings.ToLower(string(r))
		}
	}
	return append(list, word)
}

func envOf(key string) string     { return envPrefix + strings.ToUpper(strings.Join(words(key), "_")) }
func flagOf(key string) string    { return strings.Join(words(key), "-") }
func pointerOf(key string) string { return "/" + strings.ReplaceAll(key, ".", "/") }
