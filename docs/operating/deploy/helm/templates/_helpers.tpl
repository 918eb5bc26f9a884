{{- define "arbiter.name" -}}
{{- if gt (len .Release.Name) 24 }}{{ fail "the name of the release has at most 24 characters: those of its pods are names of nodes" }}{{ end -}}
{{ .Release.Name }}
{{- end }}

{{- define "arbiter.selector" -}}
app.kubernetes.io/name: arbiter
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "arbiter.labels" -}}
{{ include "arbiter.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "arbiter.nodesService" -}}
{{ include "arbiter.name" . }}-nodes
{{- end }}

{{- /* The nodes that found the cluster: the same on every pod, whatever replicaCount is. */ -}}
{{- define "arbiter.founders" -}}
{{- $nodes := list -}}
{{- range $i := until (int .Values.founders) -}}
{{- $pod := printf "%s-%d" (include "arbiter.name" $) $i -}}
{{- $nodes = append $nodes (printf "%s=%s.%s.%s.svc:7001" $pod $pod (include "arbiter.nodesService" $) $.Release.Namespace) -}}
{{- end -}}
{{ join "," $nodes }}
{{- end }}
