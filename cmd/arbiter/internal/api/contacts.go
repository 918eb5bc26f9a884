package api

import (
	"context"
	"net/http"
)

// getContacts tells where a subject stands with each contact policy.
func getContacts(ctx context.Context, core Core, in *request) (reply, error) {
	ref, err := subjectRef(in)
	if err != nil {
		return reply{}, err
	}
	read, err := readOf(in)
	if err != nil {
		return reply{}, err
	}
	contacts, err := core.Contacts(ctx, ref, &read)
	if err != nil {
		return reply{}, err
	}
	out, err := jsonReply(http.StatusOK, contacts)
	out.age = ageOf(&read)
	return out, err
}
