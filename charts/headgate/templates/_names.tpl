{{- define "headgate.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- /* 52: room for the longest suffix and for a StatefulSet's revision hash in a label of 63 */ -}}
{{- default $full .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "headgate.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gateway
{{- end -}}

{{- define "headgate.labels" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service -}}
{{- toYaml (merge (include "headgate.selector" . | fromYaml) $own .Values.commonLabels) -}}
{{- end -}}

{{- define "headgate.metadata" -}}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "headgate.labels" . | nindent 2 }}
{{- end -}}

{{- define "headgate.serviceAccountName" -}}
{{- default (ternary (include "headgate.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "headgate.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{- /* The Secret that is meant where none is named. */ -}}
{{- define "headgate.secretName" -}}
{{- if .Values.secrets.existing -}}
{{ first .Values.secrets.existing }}
{{- else -}}
{{ include "headgate.fullname" . }}
{{- end -}}
{{- end -}}
