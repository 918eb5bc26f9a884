package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func getCatalog(ctx context.Context, core Core, in *request) (reply, error) {
	return catalogReply(ctx, core, in, "")
}

func getCatalogVersion(ctx context.Context, core Core, in *request) (reply, error) {
	version, err := in.param("version")
	if err != nil {
		return reply{}, err
	}
	if version != "active" {
		if _, err := parseVersion(version); err != nil {
			return reply{}, err
		}
	}
	return catalogReply(ctx, core, in, version)
}

// catalogReply answers with the document as it was put.
func catalogReply(ctx context.Context, core Core, in *request, version string) (reply, error) {
	doc, err := core.Catalog(ctx, version)
	if err != nil {
		return reply{}, err
	}
	etag := etagOf(doc.Version)
	if in.header("If-None-Match") == etag {
		return reply{status: http.StatusNotModified, etag: etag}, nil
	}
	return reply{status: http.StatusOK, contentType: contentTypeYAML, body: doc.Document, etag: etag}, nil
}

func putCatalog(ctx context.Context, core Core, in *request) (reply, error) {
	condition, err := preconditionOf(in)
	if err != nil {
		return reply{}, err
	}
	ifMatch := ""
	switch {
	case condition.exists:
		ifMatch = "*"
	case condition.version != nil && *condition.version > 0:
		ifMatch = strings.Trim(etagOf(*condition.version), `"`)
	}
	stored, err := core.PutCatalog(ctx, in.body, ifMatch)
	if condition.version != nil && *condition.version == 0 && nba.CodeOf(err) == nba.CodePreconditionNeeds {
		return reply{}, nba.Errorf(nba.CodePrecondition, "a catalog is stored already: read it and put the next version with its ETag in If-Match")
	}
	if err != nil {
		return reply{}, err
	}
	out, err := jsonReply(http.StatusCreated, stored)
	out.etag = etagOf(stored.Version)
	out.location = "/v1/catalog/versions/" + strconv.FormatUint(stored.Version, 10)
	return out, err
}

func validateCatalog(ctx context.Context, core Core, in *request) (reply, error) {
	if err := core.ValidateCatalog(ctx, in.body); err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, map[string]bool{"valid": true})
}

func listCatalogVersions(ctx context.Context, core Core, _ *request) (reply, error) {
	versions, err := core.CatalogVersions(ctx)
	if err != nil {
		return reply{}, err
	}
	return pageReply(versions, "")
}

func listCatalogActivations(ctx context.Context, core Core, _ *request) (reply, error) {
	activations, err := core.CatalogActivations(ctx)
	if err != nil {
		return reply{}, err
	}
	return pageReply(activations, "")
}

func activateCatalog(ctx context.Context, core Core, in *request) (reply, error) {
	text, err := in.param("version")
	if err != nil {
		return reply{}, err
	}
	version, err := parseVersion(text)
	if err != nil {
		return reply{}, err
	}
	activated, err := core.ActivateCatalog(ctx, version, in.query.Get("note"))
	if err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, activated)
}

func parseVersion(text string) (uint64, error) {
	version, err := strconv.ParseUint(strings.TrimPrefix(text, "v"), 10, 64)
	if err != nil || version == 0 {
		return 0, nba.Errorf(nba.CodeCatalogUnknown, "a catalog version is a whole number from 1: GET /v1/catalog/versions lists them")
	}
	return version, nil
}
