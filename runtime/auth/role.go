package auth

import (
	"slices"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Permission is a set of things that may be done.
type Permission uint32

// The permissions. Each operation of the API needs one of them.
const (
	// Decide asks for decisions and reports what came of them.
	Decide Permission = 1 << iota
	// ReadSubjects sees customers, with their history and consents, and past decisions.
	ReadSubjects
	// WriteSubjects changes, imports and erases customers and their consents.
	WriteSubjects
	// ReadCatalog sees catalogs and the dictionary, WriteCatalog changes and activates them.
	ReadCatalog
	WriteCatalog
	// Simulate runs what-if analyses, which read many customers and show none.
	Simulate
	// ReadPlugins sees plugins, rollouts and logs and tries models, WritePlugins changes them.
	ReadPlugins
	WritePlugins
	// ReadCluster sees nodes and groups, Operate changes how the cluster runs and what it keeps.
	ReadCluster
	Operate
	// ManageKeys makes and revokes API keys and trusted signing keys.
	ManageKeys
	// ReadAudit reads the audit log.
	ReadAudit

	everything = ReadAudit<<1 - 1
	reading    = ReadSubjects | ReadCatalog | ReadPlugins | ReadCluster
)

// Has tells whether all of the wanted ones are in the set.
func (p Permission) Has(want Permission) bool { return p&want == want }

var permissionNames = [...]string{"decide", "readSubjects", "writeSubjects", "readCatalog", "writeCatalog", "simulate",
	"readPlugins", "writePlugins", "readCluster", "operate", "manageKeys", "readAudit"}

// String lists the permissions, for messages.
func (p Permission) String() string {
	var names []string
	for i, name := range permissionNames {
		if p&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// Role is what a key or a person is for.
type Role string

// The roles.
const (
	Channel   Role = "channel"   // a web site, an app, a call centre: decisions and responses
	Analyst   Role = "analyst"   // marketing and care: catalogs and simulations
	Scientist Role = "scientist" // models: plugins and rollouts
	Operator  Role = "operator"  // runs the cluster, imports customers
	Admin     Role = "admin"     // everything, keys among it
	Auditor   Role = "auditor"   // sees everything, changes nothing
)

// Roles are all roles, in the order of the documentation.
func Roles() []Role { return []Role{Channel, Analyst, Scientist, Operator, Admin, Auditor} }

// Permissions are those of a role; none for an unknown one.
func (r Role) Permissions() Permission {
	switch r {
	case Channel:
		return Decide | ReadSubjects
	case Analyst:
		return ReadSubjects | ReadCatalog | WriteCatalog | Simulate | ReadPlugins | ReadCluster | Decide
	case Scientist:
		return ReadSubjects | ReadCatalog | Simulate | ReadPlugins | WritePlugins | ReadCluster
	case Operator:
		return reading | WriteSubjects | Operate
	case Admin:
		return everything
	case Auditor:
		return reading | ReadAudit
	}
	return 0
}

// ParseRoles reads a list of roles, which it sorts and rids of repetitions.
func ParseRoles(names []string) ([]Role, error) {
	var roles []Role
	for _, name := range names {
		role := Role(strings.TrimSpace(name))
		if role.Permissions() == 0 {
			return nil, nba.Errorf(nba.CodeInvalid, "a role is unknown: use %s", listRoles())
		}
		roles = append(roles, role)
	}
	if len(roles) == 0 {
		return nil, nba.Errorf(nba.CodeInvalid, "name at least one role: %s", listRoles())
	}
	slices.Sort(roles)
	return slices.Compact(roles), nil
}

func listRoles() string {
	var names []string
	for _, r := range Roles() {
		names = append(names, string(r))
	}
	return strings.Join(names, ", ")
}

func permissionsOf(roles []Role) (p Permission) {
	for _, r := range roles {
		p |= r.Permissions()
	}
	return p
}
