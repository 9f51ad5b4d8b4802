package main

import (
	"maps"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"maru.example/cluster/clusterhttp"
)

// describeBackup describes what newBackupHandler serves, for the API's document.
func describeBackup() []*huma.Operation {
	text, number := &huma.Schema{Type: huma.TypeString}, &huma.Schema{Type: huma.TypeInteger, Format: "int64"}
	query := func(name string, s *huma.Schema, what string) *huma.Param {
		return &huma.Param{Name: name, In: "query", Required: true, Schema: s, Description: what}
	}
	const scope = " Needs the scope " + string(clusterhttp.AdminScope) + "."
	source := &huma.Operation{
		OperationID: "get-backup-source", Method: "GET", Path: backupPath, Summary: "What wallet a backup would be of",
		Description: "The cluster, its partitions, and the incarnations of its nodes, this node's first." + scope,
		Responses: answers(&huma.Response{Description: "Done.", Content: map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{
			Type: huma.TypeObject, Required: []string{"cluster_id", "node_id", "partitions", "protocol", "nodes"},
			Properties: map[string]*huma.Schema{
				"cluster_id": text, "node_id": number, "partitions": number, "protocol": text, "nodes": {Type: huma.TypeArray, Items: text},
			},
		}}}}, "401", "403"),
	}
	segment := &huma.Operation{
		OperationID: "get-backup-segment", Method: "GET", Path: backupPath + "/{partition}", Summary: "The next segment of a backup, or an export, of a partition",
		Description: "A segment of what was decided after a position, in the format of the archive: 8 MiB before it is compressed, or all that there is. " +
			"The position is that where the segment before ended; for the beginning zeros, and the link before the first entry. The server makes two segments at a time." + scope,
		Parameters: []*huma.Param{
			{Name: "partition", In: "path", Required: true, Schema: number, Description: "From 0."},
			query("index", number, "Of the last entry that the backup has."), query("term", number, "Of that entry."),
			query("time", number, "Of that entry, in nanoseconds since 1970 UTC."), query("link", text, "Of the chain after that entry, in base64."),
		},
		Responses: answers(&huma.Response{Description: "Done.", Content: map[string]*huma.MediaType{
			"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
		}, Headers: map[string]*huma.Param{lastEntryHeader: {Schema: number, Description: "Which entry of the partition was the last when it was asked for: an export ends there."}}}, "204", "400", "401", "403", "404", "409", "429", "503"),
	}
	return []*huma.Operation{source, segment}
}

// answers returns the answers of an operation: when it is done, and by status.
func answers(done *huma.Response, statuses ...string) map[string]*huma.Response {
	means := map[string]string{
		"204": "Nothing follows the position yet.",
		"400": "invalid: the position is none.",
		"401": "unauthorized: an API key is needed.",
		"403": "forbidden: the key lacks the scope.",
		"404": "not_found: there is no such partition.",
		"409": "not_here: the entries are not all on this node, or it has another past.",
		"429": "busy: there is no place for the request now; Retry-After says when to come back.",
		"503": "no_replica: this node has none of the partition.",
	}
	all := map[string]*huma.Response{"200": done}
	for _, status := range slices.Sorted(maps.Keys(means)) {
		if !slices.Contains(statuses, status) {
			continue
		}
		r := &huma.Response{Description: means[status]}
		if status != "204" {
			r.Content = map[string]*huma.MediaType{"application/problem+json": {Schema: &huma.Schema{Ref: "#/components/schemas/Problem"}}}
		}
		if status == "429" {
			r.Headers = map[string]*huma.Param{"Retry-After": {Description: "Seconds.", Schema: &huma.Schema{Type: huma.TypeInteger}}}
		}
		all[status] = r
	}
	return all
}
