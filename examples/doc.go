// Package examples is a demo telecom operator: generated subscribers, a catalog and a churn model.
//
// WriteSubscribers generates the subscribers; Catalog, ChurnModel, ChurnFeatures and
// SubscriberMapping are the files that `arbiter dev` loads, embedded. The folder telco-ibm shows the
// same with a real file. docs/demo.md walks through both. No subscriber is a real person: their
// attributes are drawn from tables of shares in tables.go.
package examples
