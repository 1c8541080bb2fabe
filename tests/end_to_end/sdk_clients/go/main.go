// Clients of one SDK that a test controls: `sdk_clients go-v2` or `sdk_clients minio-go`.
//
// Reads one JSON command per line and answers each with one line, as boto3_clients.py does:
//
//	{"do": "create", "client": NAME}   {"created": true} or {"raised": ERROR}
//	{"do": "sign", "client": NAME}     {"key": ID} of the key that signed, or {"error": ERROR}
//	{"do": "advance", "seconds": N}    moves the clock
//	{"do": "version"}                  {"version": VERSION}
//
// Built with an overlay of the package time: tests/tools/setup, moved_time.go.txt.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// A client signs a request and returns its URL with the signature in it; nothing is sent to AWS.
type client func(context.Context) (string, error)

type sdk struct {
	module string
	create func(context.Context) (client, error)
}

var sdks = map[string]sdk{
	"go-v2":    {"github.com/aws/aws-sdk-go-v2", createGoV2},
	"minio-go": {"github.com/minio/minio-go/v7", createMinio},
}

func createGoV2(ctx context.Context) (client, error) {
	// By default it asks IMDS three times, with a second in between, before it fails as it does here. A second time it asks
	// only for a token after a 401, without which it would not recover.
	once := config.WithRetryer(func() aws.Retryer {
		return retry.NewStandard(func(options *retry.StandardOptions) {
			options.Retryables = []retry.IsErrorRetryable{retry.RetryableError{}}
		})
	})
	loaded, err := config.LoadDefaultConfig(ctx, config.WithRegion("eu-west-1"), once)
	if err != nil {
		return nil, err
	}
	presign := sts.NewPresignClient(sts.NewFromConfig(loaded))
	return func(ctx context.Context) (string, error) {
		request, err := presign.PresignGetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		if err != nil {
			return "", err
		}
		return request.URL, nil
	}, nil
}

// As its documentation and Thanos create it: the environment, the shared file, IMDS.
func createMinio(context.Context) (client, error) {
	chain := credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{},
		&credentials.FileAWSCredentials{},
		&credentials.IAM{},
	})
	transport, err := minio.DefaultTransport(true)
	if err != nil {
		return nil, err
	}
	// It waits a minute for an answer, and then fails as it does here.
	transport.ResponseHeaderTimeout = time.Second
	created, err := minio.New("s3.eu-west-1.amazonaws.com", &minio.Options{
		Creds: chain, Region: "eu-west-1", Secure: true, Transport: transport,
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (string, error) {
		signed, err := created.PresignedGetObject(ctx, "bucket", "object", time.Minute, url.Values{})
		if err != nil {
			return "", err
		}
		return signed.String(), nil
	}, nil
}

func version(module string) string {
	build, _ := debug.ReadBuildInfo()
	for _, dependency := range build.Deps {
		if dependency.Path == module {
			return strings.TrimPrefix(dependency.Version, "v")
		}
	}
	return ""
}

func keyOf(signed string) (string, error) {
	parsed, err := url.Parse(signed)
	if err != nil {
		return "", err
	}
	key, _, _ := strings.Cut(parsed.Query().Get("X-Amz-Credential"), "/")
	if key == "" || parsed.Query().Get("X-Amz-Signature") == "" {
		return "", errors.New("no signature")
	}
	return key, nil
}

func main() {
	chosen, known := sdks[strings.Join(os.Args[1:], " ")]
	if !known {
		fmt.Fprintln(os.Stderr, "usage: sdk_clients go-v2|minio-go")
		os.Exit(64)
	}
	clients := map[string]client{}
	ctx := context.Background()
	lines := bufio.NewScanner(os.Stdin)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var command struct {
			Do, Client string
			Seconds    int64
		}
		if err := json.Unmarshal(lines.Bytes(), &command); err != nil {
			panic(err)
		}
		answer := map[string]any{}
		switch command.Do {
		case "create":
			if created, err := chosen.create(ctx); err != nil {
				answer["raised"] = err.Error()
			} else {
				clients[command.Client] = created
				answer["created"] = true
			}
		case "sign":
			signed, err := clients[command.Client](ctx)
			if err == nil {
				answer["key"], err = keyOf(signed)
			}
			if err != nil {
				answer = map[string]any{"error": err.Error()}
			}
		case "advance":
			time.Advance(time.Duration(command.Seconds) * time.Second)
		case "version":
			answer["version"] = version(chosen.module)
		default:
			panic(command.Do)
		}
		if err := answers.Encode(answer); err != nil {
			panic(err)
		}
	}
}
