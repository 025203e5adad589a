{{- /* What the chart must know of the configuration; the defaults are those of config/default.yaml. */ -}}

{{- define "headgate.server" -}}
{{- $defaults := dict "listen" "127.0.0.1:8080" "admin_listen" "127.0.0.1:9090" "drain_delay_s" 10 "drain_timeout_s" 600 -}}
{{- /* Not `merge`, which takes a 0 for something that is not set. */ -}}
{{- range $option, $value := default dict .Values.config.server -}}
{{- if not (kindIs "invalid" $value) -}}{{- $_ := set $defaults $option $value -}}{{- end -}}
{{- end -}}
{{- toYaml $defaults -}}
{{- end -}}

{{- define "headgate.port" -}}
{{- regexFind "[0-9]+$" (include "headgate.server" . | fromYaml).listen -}}
{{- end -}}

{{- define "headgate.adminPort" -}}
{{- regexFind "[0-9]+$" (include "headgate.server" . | fromYaml).admin_listen -}}
{{- end -}}

{{- define "headgate.scheme" -}}
{{- ternary "HTTPS" "HTTP" (hasKey (include "headgate.server" . | fromYaml) "tls") -}}
{{- end -}}

{{- define "headgate.loopback" -}}
{{- if regexMatch "^(127\\.|localhost:|\\[::1\\])" . -}}yes{{- end -}}
{{- end -}}

{{- /* Not empty where the admin plane can be reached from outside the pod. */ -}}
{{- define "headgate.adminReachable" -}}
{{- if not (include "headgate.loopback" (include "headgate.server" . | fromYaml).admin_listen) -}}yes{{- end -}}
{{- end -}}

{{- define "headgate.sqlite" -}}
{{- $store := default dict .Values.config.store -}}
{{- if hasPrefix "sqlite:" (default "sqlite://headgate.db" $store.url) -}}yes{{- end -}}
{{- end -}}

{{- define "headgate.leastGrace" -}}
{{- $server := include "headgate.server" . | fromYaml -}}
{{- add (int64 $server.drain_delay_s) (int64 $server.drain_timeout_s) 10 -}}
{{- end -}}

{{- /* Ports that addresses in the configuration name and that are not 443, as a JSON list. */ -}}
{{- define "headgate.namedPorts" -}}
{{- $config := .Values.config -}}
{{- $text := toJson (list $config.backends $config.store) -}}
{{- if eq (default "memory" (default dict $config.ledger).kind) "redis" -}}
{{- $text = print $text (toJson (merge (dict) $config.ledger (dict "url" "redis://127.0.0.1:6379"))) -}}
{{- end -}}
{{- $ports := list -}}
{{- range regexFindAll "[a-z]+://[^/\"]+" $text -1 -}}
{{- $scheme := regexFind "^[a-z]+" . -}}
{{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" .) -}}
{{- if not $port -}}
{{- $port = get (dict "http" "80" "redis" "6379" "rediss" "6379" "postgres" "5432" "postgresql" "5432") $scheme -}}
{{- end -}}
{{- if and $port (ne $port "443") (ne $scheme "sqlite") -}}{{- $ports = append $ports (int $port) -}}{{- end -}}
{{- end -}}
{{- toJson (uniq $ports) -}}
{{- end -}}

{{- /* Entries of the mounted secrets that the configuration refers to, as a JSON list. */ -}}
{{- define "headgate.entries" -}}
{{- $entries := list -}}
{{- range regexFindAll "\"file:/run/secrets/headgate/[^\"]+" (toJson .) -1 -}}
{{- $entries = append $entries (trimPrefix "\"file:/run/secrets/headgate/" .) -}}
{{- end -}}
{{- toJson (uniq $entries) -}}
{{- end -}}

{{- /* Annotations whose change replaces pods. `needed`: what src/reload.rs applies at the next start only. */ -}}
{{- define "headgate.checksums" -}}
{{- $values := .Values.secrets.values -}}
{{- $config := .Values.config -}}
{{- $server := pick (default dict $config.server) "listen" "admin_listen" "workers" "drain_timeout_s" "tls" "admin_tls" -}}
{{- if eq .Values.rollOnChange "needed" -}}
{{- $entries := include "headgate.entries" (list $server $config.store $config.ledger) | fromJsonArray -}}
{{- range .Values.secrets.env -}}{{- $entries = append $entries .key -}}{{- end -}}
{{- $used := dict -}}
{{- range $entries -}}{{- $_ := set $used . (get $values .) -}}{{- end -}}
{{- $values = $used -}}
{{- $config = dict "server" $server "store" $config.store "ledger" $config.ledger "log" $config.log "usage" $config.usage
  "write_stall_ms" (default dict $config.deadlines).write_stall_ms -}}
{{- end -}}
{{- if ne .Values.rollOnChange "never" -}}
checksum/config: {{ toJson $config | sha256sum }}
checksum/secrets: {{ printf "%s/%s" .Release.Name (toJson $values) | sha256sum }}
{{- end -}}
{{- end -}}
