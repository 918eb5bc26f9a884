// Package engine decides what to propose to one subject now.
//
// Decide is a function of its Input and nothing else: subject snapshot, catalog, request, time,
// seed and the scores of the models. It reads no clock, draws no chance and depends on no map
// order, so the same input gives the same decision, whatever the order of actions in the catalog
// and whatever is asked to be explained. engine.go is the pipeline; request.go checks what is asked.
package engine
