{{- define "mixed.metadata" -}}
name: {{ .name }}
labels:
  app.kubernetes.io/name: {{ .top.Chart.Name }}
  app.kubernetes.io/instance: {{ .top.Release.Name }}
  app.kubernetes.io/version: {{ .top.Chart.AppVersion | quote }}
  helm.sh/chart: {{ .top.Chart.Name }}-{{ .top.Chart.Version }}
annotations:
  mixed.helm-guard.dev/build: {{ .top.Values.all | quote }}
{{- end }}

{{- define "mixed.pod" -}}
serviceAccountName: {{ .account }}
securityContext: {runAsNonRoot: true, runAsUser: 10001, fsGroup: 10001}
containers:
  - name: app
    image: registry.example/app:{{ .top.Chart.AppVersion }}
    imagePullPolicy: IfNotPresent
    ports:
      - {name: http, containerPort: 8080, protocol: TCP}
      - {name: metrics, containerPort: 9090, protocol: TCP}
    env:
      - name: POD_NAME
        valueFrom: {fieldRef: {fieldPath: metadata.name}}
      - name: PASSWORD
        valueFrom: {secretKeyRef: {name: {{ .secret }}, key: password}}
      - {name: LOG_LEVEL, value: info}
    envFrom:
      - configMapRef: {name: {{ .config }}}
    livenessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 10, failureThreshold: 6}
    readinessProbe: {httpGet: {path: /readyz, port: http}, periodSeconds: 5}
    resources:
      requests: {cpu: 50m, memory: 64Mi}
      limits: {memory: 256Mi}
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
    volumeMounts:
      - {name: config, mountPath: /etc/app, readOnly: true}
      - {name: scratch, mountPath: /tmp}
volumes:
  - name: config
    configMap: {name: {{ .config }}}
  - name: scratch
    emptyDir: {}
{{- end }}
