// Package apitest checks a running server against openapi.yaml.
//
// Run sends at least one request for every operation, good ones and bad ones, and validates each
// answer: its status is documented, its headers and media type are those documented, its body agrees
// with the schema. It fails for an operation that was never exercised. It knows the server by its URL
// alone, so that the same suite holds for a core in memory and for a whole node. Read suite.go
// and steps.go for what is sent, contract.go for how answers are judged.
package apitest
