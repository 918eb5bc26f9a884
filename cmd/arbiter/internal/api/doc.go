// Package api is the HTTP surface of Arbiter: the public API on Fiber and the admin listener on
// net/http. It is the only package that knows Fiber.
//
// The contract is openapi.yaml in this folder, OpenAPI 3.1, embedded and served at /openapi.yaml; the
// suite in apitest checks a running server against it. Read in this order: core.go (what a node must
// do), routes.go (every operation), problem.go (the one table from error code to HTTP status),
// server.go and admin.go. Handlers do not see Fiber: they take an exchange and return a reply, so the
// same handler serves both listeners. POST /v1/decisions is the exception, for speed: see
// decisions.go.
package api
