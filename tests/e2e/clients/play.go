// Plays scenarios with the code of docs/client-go.md beside it: a line of JSON in, the results of its steps out.
package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"example.com/app/risk"
	riskdv1 "example.com/app/riskd/v1"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

type scenario struct {
	Target      string
	Steps       []step
	Deadline    *float64
	Authorities string
	Token       string
}

type step struct {
	Do, Subject, Attempt, Address, Assessment string
	Amr                                       []string // null if nobody answers
	More                                      json.RawMessage
	Seconds                                   float64
	Gone                                      bool // whether the person has left
}

var plays = map[string]func(context.Context, *risk.Client, step) any{
	"example": func(ctx context.Context, client *risk.Client, step step) any {
		required, assessment := client.Assess(ctx, risk.Attempt(step.Attempt, step.Subject, step.Address))
		return []any{client.SignIn(ctx, required, assessment, answer(step, nil)), assessment}
	},
	"sign_in": func(ctx context.Context, client *risk.Client, step step) any {
		request, more := risk.Attempt(step.Attempt, step.Subject, step.Address), &riskdv1.AssessRequest{}
		must(protojson.Unmarshal(seconds.ReplaceAllFunc(step.More, timestamp), more))
		proto.Merge(request, more)
		begun, challenged := time.Now(), 0
		required, assessment := client.Assess(ctx, request)
		took := time.Since(begun).Seconds()
		established := client.SignIn(ctx, required, assessment, answer(step, &challenged))
		return map[string]any{
			"tier": required.GetTier().String(), "acr_values": required.GetAcrValues(), "assessment": assessment,
			"challenged": challenged, "established": established, "seconds": took,
		}
	},
	"mistake": func(ctx context.Context, client *risk.Client, _ step) any {
		_, err := client.RPC.Assess(ctx, &riskdv1.AssessRequest{})
		reason, fields := risk.Explain(err)
		return []any{reason, fields}
	},
	"tell": func(ctx context.Context, client *risk.Client, step step) any {
		if step.Gone {
			var leave context.CancelFunc
			ctx, leave = context.WithCancel(ctx)
			leave()
		}
		outcome := &riskdv1.RecordOutcomeRequest_SessionEstablished{SessionEstablished: &riskdv1.SessionEstablished{}}
		return client.Tell(ctx, &riskdv1.RecordOutcomeRequest{AssessmentId: step.Assessment, Outcome: outcome})
	},
	"step_up": func(_ context.Context, _ *risk.Client, step step) any {
		required := &riskdv1.Requirement{}
		must(protojson.Unmarshal(step.More, required))
		return risk.StepUp(required)
	},
	"patience": func(context.Context, *risk.Client, step) any {
		// milliseconds after which the kernel gives up an unacknowledged TCP connection, for each connection
		found := []int{}
		files, err := os.ReadDir("/proc/self/fd")
		must(err)
		for _, file := range files {
			const userTimeout = 18 // TCP_USER_TIMEOUT of Linux
			descriptor, _ := strconv.Atoi(file.Name())
			if timeout, err := syscall.GetsockoptInt(descriptor, syscall.IPPROTO_TCP, userTimeout); err == nil {
				found = append(found, timeout)
			}
		}
		return found
	},
	"pause": func(_ context.Context, _ *risk.Client, step step) any {
		time.Sleep(time.Duration(step.Seconds * float64(time.Second)))
		return nil
	},
}

// protojson writes a timestamp as text, and the steps as seconds.
var seconds = regexp.MustCompile(`\{"seconds": \d+\}`)

func timestamp(message []byte) []byte {
	var given struct{ Seconds int64 }
	must(json.Unmarshal(message, &given))
	return []byte(strconv.Quote(time.Unix(given.Seconds, 0).UTC().Format(time.RFC3339)))
}

func answer(step step, challenged *int) risk.Challenge {
	return func(context.Context, *riskdv1.Requirement) ([]string, bool) {
		if challenged != nil {
			*challenged++
		}
		return step.Amr, step.Amr != nil
	}
}

func main() {
	scenarios := json.NewDecoder(os.Stdin)
	for scenarios.More() {
		var given scenario
		must(scenarios.Decode(&given))
		said, err := json.Marshal(results(given))
		must(err)
		fmt.Println(string(said))
	}
}

func results(given scenario) []any {
	transport := insecure.NewCredentials()
	if given.Authorities != "" {
		authorities := x509.NewCertPool()
		authorities.AppendCertsFromPEM([]byte(given.Authorities))
		transport = credentials.NewClientTLSFromCert(authorities, "")
	}
	several(given.Target)
	conn, err := risk.Connect(given.Target, transport, given.Token)
	must(err)
	defer conn.Close()
	client := risk.New(conn)
	if given.Deadline != nil {
		client.AssessTimeout = time.Duration(*given.Deadline * float64(time.Second))
		client.TellTimeout = client.AssessTimeout
	}
	came := []any{}
	for _, each := range given.Steps {
		came = append(came, plays[each.Do](context.Background(), client, each))
	}
	return came
}

// several registers a scheme for the addresses of a target, as the gRPC of other languages has: grpc-go has none.
func several(target string) {
	addresses, found := strings.CutPrefix(target, "ipv4:")
	if !found {
		return
	}
	state := resolver.State{}
	for _, each := range strings.Split(addresses, ",") {
		state.Addresses = append(state.Addresses, resolver.Address{Addr: each})
	}
	builder := manual.NewBuilderWithScheme("ipv4")
	builder.InitialState(state)
	resolver.Register(builder)
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
