package command

// Level numbers what a release can apply. A cluster works at the level of its least member, so that
// nobody proposes what another cannot apply: each node announces the level of its release, and
// operations that need a higher one than all members announced are refused where they would be
// proposed. A replica that meets one nevertheless stops.
type Level uint32

// The levels.
const (
	// LevelFirst is that of the first release, which announced nothing.
	LevelFirst Level = 1
	// LevelRetention adds idempotency keys, retention, and the comparison of digests.
	LevelRetention Level = 2
	// LevelContacts adds contact policies.
	LevelContacts Level = 3
	// LevelRollouts adds rollouts, trusted keys, volumes, linked subjects, consents by channel, and
	// what a replay needs.
	LevelRollouts Level = 4

	// LevelEvents adds events, journeys, deliveries and campaigns, and nodes that join and leave.
	LevelEvents Level = 5

	// LevelKnown is the level of this release.
	LevelKnown = LevelEvents
)

// Needs is the level at which an operation may be proposed; ok is false for one that no level knows.
func Needs(kind Kind, version uint8) (level Level, ok bool) {
	switch {
	case kind == DecisionRecorded && version == 2:
		return LevelRetention, true
	case kind == DecisionRecorded && version == claimingVersion:
		return LevelContacts, true
	case kind == DecisionRecorded && version == sectionedVersion:
		return LevelRollouts, true
	case (kind == SubjectPut || kind == SubjectPatch || kind == SubjectDelete || kind == CatalogActivated) && version == extendedVersion:
		return LevelRollouts, true
	case kind == ResponseRecorded && version == movingVersion:
		return LevelEvents, true
	case version != opVersion:
		return 0, false
	}
	switch kind {
	case SubjectPut, SubjectPatch, SubjectDelete, DecisionRecorded, ResponseRecorded,
		AttributesDeclared, CatalogStored, CatalogActivated, PluginStaged, PluginActivated:
		return LevelFirst, true
	case NodeAnnounced: // how levels rise: it comes before all of them
		return LevelFirst, true
	case Keyed, Expired, StateMarked, RetentionSet:
		return LevelRetention, true
	case RolloutStarted, RolloutAcknowledged, RolloutChanged, RolloutCounted:
		return LevelRollouts, true
	case ContactsReserved, ContactsTold, TimeElapsed, DecisionsResolved, NewsDelivered, LeaseGranted, LeaseReturned,
		SignerTrusted, SignerDistrusted, PluginRemoved, PluginDeactivated,
		VolumeLeased, VolumeGivenBack, Attributed, KeyCreated, KeyRevoked:
		return LevelRollouts, true
	case NodesFounded, NodeJoined, NodeChanged, NodeRemoved, GroupsPlaced:
		return LevelEvents, true
	case EventsApplied, TimersFired, TriggersClosed, DeliveriesChanged, LettersPut, LettersRemoved, JourneyMoved, StreamsNoted,
		CampaignBatch, CampaignForgotten, CampaignStarted, CampaignChanged, CampaignFinished,
		RestoreBegun, PairsLoaded, RestoreEnded:
		return LevelEvents, true
	}
	return 0, false
}

// KindOf is the kind and version of an operation as its Append made it.
func KindOf(op []byte) (kind Kind, version uint8) {
	if len(op) < opHeadBytes {
		return 0, 0
	}
	return Kind(op[0]), op[1]
}
