// Package telemetry is what every part logs and counts with: a slog handler that keeps customer data
// out of the log, a metrics registry with the process's own figures, and the build's identity.
//
// It holds no global: loggers and registries are made by cmd and handed down.
package telemetry
