// Package project is the source folder of a plugin: New makes one from a guest SDK's template, Build
// compiles it with the toolchain of its language and embeds the manifest, Test runs the contract and
// the project's own cases in the sandbox that production uses.
//
// A project is described by plugin.yaml. The guest SDK lies in the project's folder arbiter, so that
// a project builds the same whatever version of this program is installed later.
package project
