package fsm

import "github.com/arbiterhq/arbiter/cluster/command"

func (c *Control) createKey(at At, body []byte) (Result, error) {
	var op command.CreateKey
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	op.Key.CreatedAt = at.ProposedMS
	next, err := c.next.Keys.Add(op.Key, op.Founding)
	if err != nil {
		return Result{Err: err}, nil
	}
	c.next.Keys, c.dirty[partKeysOfAPI] = next, true
	return Result{Created: true, Value: op.Key.View()}, nil
}

func (c *Control) revokeKey(at At, body []byte) (Result, error) {
	var op command.RevokeKey
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	next, err := c.next.Keys.Remove(op.ID, at.ProposedMS)
	if err != nil {
		return Result{Err: err}, nil
	}
	c.next.Keys, c.dirty[partKeysOfAPI] = next, true
	return Result{}, nil
}
