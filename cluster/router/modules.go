package router

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/arbiterhq/arbiter/cluster/blob"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// blobPart bounds how much of a module one message carries.
const blobPart = 512 << 10

func appendBlobPart(dst []byte, whole uint64, part []byte) []byte {
	return append(binary.AppendUvarint(dst, whole), part...)
}

// Fetch makes sure that the module of a digest is among the blobs here: it gets it from the node that
// is said to have it, or from any other, and checks its digest.
func (r *Router) Fetch(ctx context.Context, digest, from string) error {
	if r.blobs.Has(digest) || r.net == nil {
		return nil
	}
	nodes := r.net.others()
	if i := slices.Index(nodes, from); i > 0 {
		nodes[0], nodes[i] = nodes[i], nodes[0]
	}
	var problems []error
	for _, node := range nodes {
		content, err := r.download(ctx, digest, node)
		if err == nil {
			if err = r.blobs.Put(digest, content); err == nil {
				return nil
			}
		}
		problems = append(problems, fmt.Errorf("node %s: %w", node, err))
	}
	return nba.Errorf(nba.CodeUnavailable, "no node that answers has the module %s: push it again (%w)", digest, errors.Join(problems...))
}

func (r *Router) download(ctx context.Context, digest, node string) (content []byte, err error) {
	for {
		request := binary.AppendUvarint(appendBytes(nil, digest), uint64(len(content)))
		reply, err := r.net.remote.Call(ctx, node, MethodBlob, request)
		if err != nil {
			return nil, err
		}
		in := scanner{rest: reply}
		whole := in.number()
		if in.bad || whole > blob.MaxBytes || len(in.rest) == 0 && uint64(len(content)) < whole || uint64(len(content)+len(in.rest)) > whole {
			return nil, errWire
		}
		content = append(content, in.rest...)
		if uint64(len(content)) == whole {
			return content, nil
		}
	}
}
