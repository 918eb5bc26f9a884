package delivery

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of Standard Webhooks (https://www.standardwebhooks.com).
const (
	headerID        = "webhook-id"
	headerTimestamp = "webhook-timestamp"
	headerSignature = "webhook-signature"

	secretPrefix = "whsec_"
	minKey       = 16 // bytes
	maxKeys      = 4
)

// webhook posts the payload as it is, signed.
type webhook struct {
	poster
	keys [][]byte
}

func newWebhook(s *Spec) (*webhook, error) {
	keys, err := signingKeys(s.Secret)
	if err != nil {
		return nil, err
	}
	return &webhook{poster: newPoster(s), keys: keys}, nil
}

// signingKeys are the keys of a secret: those after whsec_ in base64, others as they are.
func signingKeys(secret string) (keys [][]byte, err error) {
	for line := range strings.Lines(secret) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		key := []byte(line)
		if encoded, ok := strings.CutPrefix(line, secretPrefix); ok {
			if key, err = base64.StdEncoding.DecodeString(encoded); err != nil {
				return nil, errors.New("a secret that begins with whsec_ must go on in base64")
			}
		}
		if len(key) < minKey || len(keys) == maxKeys {
			return nil, errors.New("a secret has at least 16 bytes, and there are at most 4, one a line")
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Sign is the value of the webhook-signature header for a message: a signature for each key of a secret.
func Sign(keys [][]byte, id string, at time.Time, body []byte) string {
	var signatures []string
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		_, _ = mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + ".")) // a hash never fails
		_, _ = mac.Write(body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(signatures, " ")
}

// Send implements Sink.
func (w *webhook) Send(ctx context.Context, deliveries []Delivery) []Result {
	results := make([]Result, len(deliveries))
	for i := range deliveries {
		d, now := &deliveries[i], time.Now()
		results[i] = w.post(ctx, d.Payload, func(h http.Header) {
			h.Set(headerID, d.ID)
			h.Set(headerTimestamp, strconv.FormatInt(now.Unix(), 10))
			if len(w.keys) > 0 {
				h.Set(headerSignature, Sign(w.keys, d.ID, now, d.Payload))
			}
		})
	}
	return results
}

// Close implements Sink.
func (w *webhook) Close() error {
	w.close()
	return nil
}
