package api

import "github.com/arbiterhq/arbiter/runtime/auth"

// permissions are what each operation needs, by its id; a test keeps the table complete. Operations that
// are public need none.
var permissions = map[string]auth.Permission{
	"decide": auth.Decide, "respond": auth.Decide,

	"getDecision": auth.ReadSubjects, "getSubject": auth.ReadSubjects, "getHistory": auth.ReadSubjects, "getConsents": auth.ReadSubjects,
	"getAggregates": auth.ReadSubjects, "getJourneys": auth.ReadSubjects, "moveJourney": auth.Decide,
	"getContacts": auth.ReadSubjects, "replayDecision": auth.ReadSubjects, "whyNot": auth.ReadSubjects,

	"importSubjects": auth.WriteSubjects, "putSubject": auth.WriteSubjects, "patchSubject": auth.WriteSubjects,
	"deleteSubject": auth.WriteSubjects, "putConsents": auth.WriteSubjects,

	"acceptEvents": auth.WriteSubjects, "listEvents": auth.ReadSubjects, "listLetters": auth.ReadSubjects, "getLetter": auth.ReadSubjects,
	"removeLetter": auth.WriteSubjects, "replayLetter": auth.WriteSubjects,

	"listDeliveries": auth.ReadSubjects, "getDelivery": auth.ReadSubjects, "listClosedTriggers": auth.ReadSubjects,
	"replayDelivery": auth.WriteSubjects, "cancelDelivery": auth.WriteSubjects,

	"getAttributes": auth.ReadCatalog, "getCatalog": auth.ReadCatalog, "listCatalogVersions": auth.ReadCatalog,
	"getCatalogVersion": auth.ReadCatalog, "listCatalogActivations": auth.ReadCatalog, "validateCatalog": auth.ReadCatalog,
	"declareAttributes": auth.WriteCatalog, "putCatalog": auth.WriteCatalog, "activateCatalog": auth.WriteCatalog,

	"listPlugins": auth.ReadPlugins, "getPlugin": auth.ReadPlugins, "makeFeatures": auth.ReadPlugins | auth.ReadSubjects,
	"pushPlugin": auth.WritePlugins, "activatePlugin": auth.WritePlugins, "deactivatePlugin": auth.WritePlugins,
	"verifyPlugin": auth.WritePlugins, "removePlugin": auth.WritePlugins, "removePluginVersion": auth.WritePlugins,
	"getPluginLogs": auth.ReadPlugins, "listPluginKeys": auth.ReadPlugins,
	"trustPluginKey": auth.ManageKeys, "distrustPluginKey": auth.ManageKeys,

	"createRecommendation": auth.Decide, "listRecommendations": auth.ReadSubjects, "getRecommendation": auth.ReadSubjects,

	"inferenceModel": auth.ReadPlugins, "inferenceModelReady": auth.ReadPlugins, "infer": auth.ReadPlugins,
	"inferenceVersion": auth.ReadPlugins, "inferenceVersionReady": auth.ReadPlugins, "inferVersion": auth.ReadPlugins,

	"listRollouts": auth.ReadPlugins, "getRollout": auth.ReadPlugins,
	"startRollout": auth.WritePlugins, "promoteRollout": auth.WritePlugins, "pauseRollout": auth.WritePlugins,
	"resumeRollout": auth.WritePlugins, "abortRollout": auth.WritePlugins, "undoRollout": auth.WritePlugins,

	"startSimulation": auth.ReadCatalog | auth.ReadSubjects, "listSimulations": auth.ReadCatalog,
	"getSimulation": auth.ReadCatalog | auth.ReadSubjects, "cancelSimulation": auth.ReadCatalog | auth.ReadSubjects,

	"listSegments": auth.ReadCatalog, "cutScores": auth.Simulate,
	"listCampaigns": auth.ReadCatalog, "getCampaign": auth.ReadCatalog, "planCampaign": auth.Simulate | auth.ReadSubjects,
	"startCampaignRun": auth.WriteCatalog, "pauseCampaignRun": auth.WriteCatalog, "resumeCampaignRun": auth.WriteCatalog,
	"stopCampaignRun": auth.WriteCatalog, "getCampaignRun": auth.ReadCatalog, "getCampaignReport": auth.ReadCatalog,
	"exportCampaignRun": auth.ReadSubjects | auth.ReadCatalog,

	"getRetention": auth.ReadCluster, "getCluster": auth.ReadCluster, "listStreams": auth.ReadCluster, "setRetention": auth.Operate,

	"listMembers": auth.ReadCluster, "getBalance": auth.ReadCluster, "joinMember": auth.Operate, "drainMember": auth.Operate,
	"removeMember": auth.Operate, "transferLead": auth.Operate, "rebalance": auth.Operate,

	"backup": auth.ManageKeys, "restore": auth.ManageKeys, // a backup is the whole customer memory

	"listKeys": auth.ManageKeys, "createKey": auth.ManageKeys, "revokeKey": auth.ManageKeys, "whoAmI": 0,
	"listAudit": auth.ReadAudit,
}

// permissionOf is what op needs; one that is not in the table is for admins.
func permissionOf(op *operation) auth.Permission {
	if need, ok := permissions[op.id]; ok {
		return need
	}
	return auth.ManageKeys
}
