// Package conformance runs Gateway API's own conformance suite against the cluster that KUBECONFIG names.
//
// The flags are the suite's own; the Makefile gives the profiles and where the report goes.
package conformance

import (
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
)

func TestConformance(t *testing.T) {
	conformance.RunConformance(t)
}
