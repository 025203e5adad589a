{{- /* Values that would make pods that cannot start, or lose data: each message names the value to change. */ -}}
{{- define "headgate.checks" -}}
{{- $values := .Values -}}
{{- $config := $values.config -}}
{{- $server := include "headgate.server" . | fromYaml -}}
{{- $auth := default dict $config.auth -}}
{{- $open := eq (default "required" $auth.tenants) "open" -}}
{{- $sqlite := include "headgate.sqlite" . -}}
{{- $kind := $values.persistence.kind -}}
{{- if include "headgate.loopback" $server.listen -}}
{{- fail (printf "config.server.listen: %s is loopback, which no Service can reach; use 0.0.0.0:8080" $server.listen) -}}
{{- end -}}
{{- if and (not $config.tenants) (not $open) -}}
{{- fail "config.tenants: is empty, and the gateway does not serve a network without client keys; name at least one tenant, or set config.auth.tenants to open" -}}
{{- end -}}
{{- if and (include "headgate.adminReachable" .) (not $auth.admin_tokens) -}}
{{- fail "config.auth.admin_tokens: is empty, and the admin plane does not listen on a network without tokens; name at least one, or set config.server.admin_listen to 127.0.0.1:9090" -}}
{{- end -}}
{{- include "headgate.checkStore" (list $values $sqlite) -}}
{{- if lt (int64 (default (include "headgate.leastGrace" .) $values.terminationGracePeriodSeconds)) (int64 (include "headgate.leastGrace" .)) -}}
{{- fail (printf "terminationGracePeriodSeconds: %v cuts the drain off; config.server needs at least %s" $values.terminationGracePeriodSeconds (include "headgate.leastGrace" .)) -}}
{{- end -}}
{{- include "headgate.checkSecrets" . -}}
{{- range $values.extraEnv -}}
{{- if regexMatch "^HEADGATE__(SERVER|AUTH|STORE|TENANTS)(__|$)" .name -}}
{{- fail (printf "extraEnv: %s would go past what the chart knows of the configuration; set it in config" .name) -}}
{{- end -}}
{{- end -}}
{{- if and $values.serviceMonitor.enabled (not (and $values.adminService.enabled (include "headgate.adminReachable" .))) -}}
{{- fail "serviceMonitor.enabled: needs the admin plane on the network: adminService.enabled, and config.server.admin_listen not loopback" -}}
{{- end -}}
{{- if and $values.ingress.enabled (not $values.ingress.hosts) -}}
{{- fail "ingress.hosts: is empty; name at least one host" -}}
{{- end -}}
{{- with $values.podDisruptionBudget -}}
{{- if and .enabled (eq (kindIs "invalid" .maxUnavailable) (kindIs "invalid" .minAvailable)) -}}
{{- fail "podDisruptionBudget: set one of maxUnavailable and minAvailable, and the other to null" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "headgate.checkStore" -}}
{{- $values := index . 0 -}}
{{- $sqlite := index . 1 -}}
{{- $kind := $values.persistence.kind -}}
{{- if and $sqlite (gt (int $values.replicas) 1) -}}
{{- fail (printf "replicas: %d pods cannot share a SQLite store; keep 1, or set config.store.url to a PostgreSQL database" (int $values.replicas)) -}}
{{- end -}}
{{- if and $sqlite (eq $kind "none") -}}
{{- fail "persistence.kind: none leaves a SQLite store no place to write; use claimTemplate, existingClaim or emptyDir, or set config.store.url to a PostgreSQL database" -}}
{{- end -}}
{{- if and $sqlite (not $values.extraVolumeMounts) (not (hasPrefix "sqlite:///data/" (default "" (default dict $values.config.store).url))) -}}
{{- fail "config.store.url: a SQLite file outside /data is on the read-only root; use sqlite:///data/headgate.db" -}}
{{- end -}}
{{- if and (eq $kind "existingClaim") (not $values.persistence.existingClaim) -}}
{{- fail "persistence.existingClaim: is empty although persistence.kind is existingClaim" -}}
{{- end -}}
{{- if and (eq $kind "existingClaim") (gt (int $values.replicas) 1) -}}
{{- fail "replicas: more than one pod cannot share persistence.existingClaim; use persistence.kind none" -}}
{{- end -}}
{{- end -}}

{{- define "headgate.checkSecrets" -}}
{{- $values := .Values -}}
{{- $text := toJson $values.config -}}
{{- if and (eq $values.configKind "ConfigMap") (regexMatch "\"value:|://[^/@\"]*:[^/@\"]+@" $text) -}}
{{- fail "configKind: config holds a secret (a value: reference, or a password in an address) and would be a ConfigMap; refer to a file of secrets instead, or set configKind to Secret" -}}
{{- end -}}
{{- if and $values.secrets.values (not $values.secrets.existing) -}}
{{- range include "headgate.entries" $values.config | fromJsonArray -}}
{{- if not (hasKey $values.secrets.values .) -}}
{{- fail (printf "secrets.values.%s: config refers to file:/run/secrets/headgate/%s, which neither secrets.values nor secrets.existing provides" . .) -}}
{{- end -}}
{{- end -}}
{{- range $values.secrets.env -}}
{{- if not (or .secret (hasKey $values.secrets.values .key)) -}}
{{- fail (printf "secrets.env: %s takes the entry %s, which secrets.values does not have" .name .key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
