package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func pushPlugin(ctx context.Context, core Core, in *request) (reply, error) {
	activate, err := strconv.ParseBool(in.query.Get("activate"))
	if in.query.Has("activate") && err != nil {
		return reply{}, nba.Errorf(nba.CodeInvalid, "the query parameter activate must be true or false")
	}
	pushed, err := core.PushPlugin(ctx, in.body, activate)
	if err != nil {
		return reply{}, err
	}
	out, err := jsonReply(http.StatusCreated, pushed)
	out.location = locate("/v1/plugins/%s/versions/%s", pushed.Name, pushed.Version)
	return out, err
}

func listPlugins(ctx context.Context, core Core, _ *request) (reply, error) {
	plugins, err := core.Plugins(ctx)
	if err != nil {
		return reply{}, err
	}
	return pageReply(plugins, "")
}

func getPlugin(ctx context.Context, core Core, in *request) (reply, error) {
	return onPlugin(ctx, in, core.Plugin)
}

func activatePlugin(ctx context.Context, core Core, in *request) (reply, error) {
	return onPlugin(ctx, in, core.ActivatePlugin)
}

func onPlugin(ctx context.Context, in *request, do func(ctx context.Context, name, version string) (nba.PluginVersion, error)) (reply, error) {
	name, err := in.param("name")
	if err != nil {
		return reply{}, err
	}
	version, err := in.param("version")
	if err != nil {
		return reply{}, err
	}
	plugin, err := do(ctx, name, version)
	if err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, plugin)
}
