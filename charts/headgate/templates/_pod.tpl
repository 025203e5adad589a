{{- /* What the gateway's pods and the test's pod have in common: the configuration, its secrets, the environment. */ -}}
{{- define "headgate.env" -}}
{{- range .Values.secrets.env }}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ default (include "headgate.secretName" $) .secret }}
      key: {{ .key }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "headgate.volumes" -}}
- name: config
  {{- if eq .Values.configKind "Secret" }}
  secret:
    secretName: {{ include "headgate.fullname" . }}-config
  {{- else }}
  configMap:
    name: {{ include "headgate.fullname" . }}
  {{- end }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range .Values.secrets.existing }}
      - secret:
          name: {{ . }}
      {{- end }}
      {{- if or .Values.secrets.values (not .Values.secrets.existing) }}
      - secret:
          name: {{ include "headgate.fullname" . }}
      {{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "headgate.mounts" -}}
- { name: config, mountPath: /etc/headgate, readOnly: true }
- { name: secrets, mountPath: /run/secrets/headgate, readOnly: true }
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "headgate.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "headgate.probe" -}}
{{- $path := index . 1 -}}
{{- $get := dict "path" $path "port" "http" "scheme" (include "headgate.scheme" (index . 0)) -}}
{{- toYaml (merge (dict "httpGet" $get) (index . 2)) -}}
{{- end -}}

{{- define "headgate.pod" -}}
metadata:
  annotations:
    kubectl.kubernetes.io/default-container: headgate
    {{- with include "headgate.checksums" . }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- /* No version here: a new chart alone must not replace pods. */}}
    {{- toYaml (merge (include "headgate.selector" . | fromYaml) .Values.podLabels .Values.commonLabels) | nindent 4 }}
spec:
  serviceAccountName: {{ include "headgate.serviceAccountName" . }}
  automountServiceAccountToken: {{ .Values.serviceAccount.automount }}
  # A Service called headgate would otherwise fill the environment with HEADGATE_... variables.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ default (include "headgate.leastGrace" .) .Values.terminationGracePeriodSeconds | int64 }}
  {{- with include "headgate.placement" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    - {{- toYaml (merge (dict) . (dict "labelSelector" (dict "matchLabels" (include "headgate.selector" $ | fromYaml)))) | nindent 6 }}
    {{- end }}
  {{- end }}
  containers:
    - name: headgate
      {{- include "headgate.container" . | nindent 6 }}
  volumes:
    {{- include "headgate.volumes" . | nindent 4 }}
    # SQLite spills large sorts there; the root is read-only.
    - name: tmp
      emptyDir: { sizeLimit: 256Mi }
    {{- if eq .Values.persistence.kind "existingClaim" }}
    - name: data
      persistentVolumeClaim:
        claimName: {{ .Values.persistence.existingClaim }}
    {{- else if eq .Values.persistence.kind "emptyDir" }}
    - name: data
      emptyDir:
        sizeLimit: {{ .Values.persistence.size }}
    {{- end }}
{{- end -}}

{{- define "headgate.container" -}}
image: {{ include "headgate.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [ serve, --config, /etc/headgate/headgate.yaml ]
{{- with include "headgate.env" . | trim }}
env:
  {{- . | nindent 2 }}
{{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - { name: http, containerPort: {{ include "headgate.port" . }}, protocol: TCP }
  {{- if include "headgate.adminReachable" . }}
  - { name: admin, containerPort: {{ include "headgate.adminPort" . }}, protocol: TCP }
  {{- end }}
startupProbe:
  {{- include "headgate.probe" (list . "/healthz" .Values.probes.startup) | nindent 2 }}
livenessProbe:
  {{- include "headgate.probe" (list . "/healthz" .Values.probes.liveness) | nindent 2 }}
readinessProbe:
  {{- include "headgate.probe" (list . "/readyz" .Values.probes.readiness) | nindent 2 }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  {{- include "headgate.mounts" . | nindent 2 }}
  - { name: tmp, mountPath: /tmp }
  {{- if ne .Values.persistence.kind "none" }}
  - { name: data, mountPath: /data }
  {{- end }}
{{- end -}}
