// Package cloudevent reads CloudEvents 1.0 (https://github.com/cloudevents/spec): in JSON, one or a batch, and in
// binary mode, as they come over HTTP and from Kafka. It is quick: an event's strings are parts of the text it
// came in, and its data is checked and not taken apart.
package cloudevent
