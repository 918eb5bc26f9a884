package peer

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"
)

// A node that is in no list yet asks one question over a connection of its own: to be let in. Its preamble
// names no cluster and no node; its certificate, where the cluster has them, proves its name.

// MaxStrangerBytes bounds the question of a node that is in no list yet, and the answer.
const MaxStrangerBytes = 1 << 20

// ErrRefused is wrapped by Ask's error when something answered at the address, but not as a node that this
// one could talk to: other certificates, none, or something else altogether.
var ErrRefused = errors.New("the other side does not accept this node")

// HandleStranger sets who answers nodes that are in no list. from is the name that the node gave, which
// its certificate proves if the port has TLS. Without it they are refused. Call it before Start.
func (p *Port) HandleStranger(h Handler) { p.stranger = h }

// Ask asks the node at an address one question, on behalf of a node that is in no list there. It uses of
// config NodeID, TLS and Limits. The error is an *nba.Error if the other node's handler gave one.
func Ask(ctx context.Context, config Config, address string, question []byte) ([]byte, error) {
	limits := config.Limits.withDefaults()
	dialing, cancel := context.WithTimeout(ctx, limits.DialTimeout)
	defer cancel()
	nc, err := new(net.Dialer).DialContext(dialing, "tcp", address)
	if err != nil {
		return nil, errDown(address, fmt.Errorf("connecting: %w", err))
	}
	defer func() { _ = nc.Close() }()
	deadline, _ := dialing.Deadline()
	if err := nc.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if config.TLS != nil {
		secured := tls.Client(nc, anyNode(config.TLS()))
		if err := secured.HandshakeContext(dialing); err != nil {
			return nil, fmt.Errorf("%w: securing the connection to %s: %w (is it a node of a cluster with certificates of the same authority?)", ErrRefused, address, err)
		}
		nc = secured
	}
	hello := appendGreeting(nil, greeting{version: version, lane: laneStranger, from: config.NodeID}, false)
	if _, err := nc.Write(hello); err != nil {
		return nil, fmt.Errorf("%w: greeting %s: %w", ErrRefused, address, err)
	}
	answer, err := readGreeting(nc, true)
	if err != nil {
		return nil, fmt.Errorf("%w: reading the greeting of %s: %w (does the cluster use TLS, or run a release before nodes could join?)", ErrRefused, address, err)
	}
	switch status := byte(answer.lane); status {
	case statusOK:
	case statusFull:
		return nil, errDown(answer.from, errors.New("it accepts no more connections"))
	default:
		return nil, fmt.Errorf("%w: node %s at %s takes no questions of new nodes (status %d): it may run an older release", ErrRefused, answer.from, address, status)
	}
	if deadline, ok := ctx.Deadline(); ok {
		err = nc.SetDeadline(deadline)
	} else {
		err = nc.SetDeadline(time.Now().Add(limits.StallTimeout))
	}
	if err != nil {
		return nil, err
	}
	if _, err := nc.Write(appendRequest(nil, methodStranger, 1, 0, "", nil, question)); err != nil {
		return nil, errInterrupted(answer.from, err)
	}
	f, err := readFrame(bufio.NewReader(nc), MaxStrangerBytes)
	if err != nil {
		return nil, errInterrupted(answer.from, err)
	}
	if f.kind != frameAnswer {
		return nil, remoteError(f, answer.from)
	}
	return f.body, nil
}

// anyNode is a configuration that trusts whatever node shows a certificate of the authorities: which one
// answers at the address is not known yet.
func anyNode(config *tls.Config) *tls.Config {
	config = config.Clone()
	roots := config.RootCAs
	config.InsecureSkipVerify = true // the chain is checked below; only the name cannot be
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("the node showed no certificate")
		}
		between := x509.NewCertPool()
		for _, c := range state.PeerCertificates[1:] {
			between.AddCert(c)
		}
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
		return err
	}
	return config
}

// serveStranger answers one question.
func (p *Port) serveStranger(from string, nc net.Conn) {
	if err := nc.SetDeadline(time.Now().Add(p.limits.StallTimeout)); err != nil {
		return
	}
	f, err := readFrame(bufio.NewReader(nc), MaxStrangerBytes)
	if err != nil || f.kind != frameRequest || f.method != methodStranger {
		p.logger.Warn("a new node asked wrongly", "node", from, "error", err)
		return
	}
	_, _, question, err := parseRequest(f.body)
	if err != nil {
		p.logger.Warn("a new node asked wrongly", "node", from, "error", err)
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, p.limits.StallTimeout)
	defer cancel()
	answer, err := p.guarded(ctx, p.stranger, from, f.method, question)
	if err == nil && len(answer) > MaxStrangerBytes {
		err = fmt.Errorf("the answer to a new node has %d bytes: at most %d", len(answer), MaxStrangerBytes)
	}
	if err != nil {
		_ = p.write(nc, appendError(nil, f.method, f.id, err)) // it is too late if that fails
		return
	}
	_ = p.write(nc, appendFrame(nil, frameAnswer, f.method, f.id, answer))
}
