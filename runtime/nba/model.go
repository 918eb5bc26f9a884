package nba

// ModelMetadata describes one version of a plugin that can be asked for scores by itself.
type ModelMetadata struct {
	Name, Version, Digest string
	// Versions are the versions that are ready on the node that answers.
	Versions []string
	// Adapter is set for a module that was built for another host.
	Adapter string
	// Output is what a score means: probability, value or verdict.
	Output string
	// Features are the names of the inputs, in the order of a row.
	Features []string
	// Ready tells whether the node that answers has the version loaded.
	Ready bool
}

// Inference is what a model gave for rows of features; NaN means that it abstained.
type Inference struct {
	Name, Version string
	Scores        []float64
}
