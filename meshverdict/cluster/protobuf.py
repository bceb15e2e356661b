"""Request bodies in Kubernetes' protobuf, which kubectl sends for `create` and `auth`.

Only for the kinds below, by their public field numbers; anything else is refused with the way out, and nothing is
answered in protobuf. A field whose number is not known refuses the whole: a part of a manifest silently lost would
be worse than no manifest.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator
from typing import Any, Final

MAGIC: Final = b"k8s\0"
_DEPTH: Final = 40

# One line a message: number name:type. s text, b bytes, i integer, B boolean, T time, Q quantity, I number or text;
# a name is another message; [] is a list, {} a map from text. `_` joins the fields of the message to its parent's.
_TEXT: Final = """
ObjectMeta 1 name:s 2 generateName:s 3 namespace:s 4 selfLink:s 5 uid:s 6 resourceVersion:s 7 generation:i
 8 creationTimestamp:T 9 deletionTimestamp:T 10 deletionGracePeriodSeconds:i 11 labels:s{} 12 annotations:s{}
 13 ownerReferences:OwnerReference[] 14 finalizers:s[]
OwnerReference 1 kind:s 3 name:s 4 uid:s 5 apiVersion:s 6 controller:B 7 blockOwnerDeletion:B
LabelSelector 1 matchLabels:s{} 2 matchExpressions:LabelSelectorRequirement[]
LabelSelectorRequirement 1 key:s 2 operator:s 3 values:s[]
Namespace 1 metadata:ObjectMeta 2 spec:NamespaceSpec 3 status:NamespaceStatus
NamespaceSpec 1 finalizers:s[]
NamespaceStatus 1 phase:s
ConfigMap 1 metadata:ObjectMeta 2 data:s{} 3 binaryData:b{} 4 immutable:B
Secret 1 metadata:ObjectMeta 2 data:b{} 3 type:s 4 stringData:s{} 5 immutable:B
ServiceAccount 1 metadata:ObjectMeta 2 secrets:ObjectReference[] 3 imagePullSecrets:LocalObjectReference[]
 4 automountServiceAccountToken:B
ObjectReference 1 kind:s 2 namespace:s 3 name:s 4 uid:s 5 apiVersion:s 6 resourceVersion:s 7 fieldPath:s
LocalObjectReference 1 name:s
Service 1 metadata:ObjectMeta 2 spec:ServiceSpec 3 status:ServiceStatus
ServiceSpec 1 ports:ServicePort[] 2 selector:s{} 3 clusterIP:s 4 type:s 5 externalIPs:s[] 7 sessionAffinity:s
 8 loadBalancerIP:s 9 loadBalancerSourceRanges:s[] 10 externalName:s 11 externalTrafficPolicy:s
 12 healthCheckNodePort:i 13 publishNotReadyAddresses:B 17 ipFamilyPolicy:s 18 clusterIPs:s[] 19 ipFamilies:s[]
 20 allocateLoadBalancerNodePorts:B 21 loadBalancerClass:s 22 internalTrafficPolicy:s 23 trafficDistribution:s
ServicePort 1 name:s 2 protocol:s 3 port:i 4 targetPort:I 5 nodePort:i 6 appProtocol:s
ServiceStatus 1 loadBalancer:Nothing
Nothing
Deployment 1 metadata:ObjectMeta 2 spec:DeploymentSpec 3 status:DeploymentStatus
DeploymentSpec 1 replicas:i 2 selector:LabelSelector 3 template:PodTemplateSpec 4 strategy:DeploymentStrategy
 5 minReadySeconds:i 6 revisionHistoryLimit:i 7 paused:B 9 progressDeadlineSeconds:i
DeploymentStrategy 1 type:s 2 rollingUpdate:RollingUpdate
DeploymentStatus 1 observedGeneration:i 2 replicas:i 3 updatedReplicas:i 4 availableReplicas:i
 5 unavailableReplicas:i 7 readyReplicas:i
RollingUpdate 1 maxUnavailable:I 2 maxSurge:I
PodTemplateSpec 1 metadata:ObjectMeta 2 spec:PodSpec
PodSpec 2 containers:Container[] 3 restartPolicy:s 4 terminationGracePeriodSeconds:i 5 activeDeadlineSeconds:i
 6 dnsPolicy:s 7 nodeSelector:s{} 8 serviceAccountName:s 9 serviceAccount:s 10 nodeName:s 11 hostNetwork:B
 12 hostPID:B 13 hostIPC:B 14 securityContext:Nothing 15 imagePullSecrets:LocalObjectReference[] 16 hostname:s
 17 subdomain:s 19 schedulerName:s 20 initContainers:Container[] 21 automountServiceAccountToken:B
 24 priorityClassName:s 25 priority:i
Container 1 name:s 2 image:s 3 command:s[] 4 args:s[] 5 workingDir:s 6 ports:ContainerPort[] 7 env:EnvVar[]
 8 resources:ResourceRequirements 13 terminationMessagePath:s 14 imagePullPolicy:s 16 stdin:B 17 stdinOnce:B
 18 tty:B 20 terminationMessagePolicy:s
ContainerPort 1 name:s 2 hostPort:i 3 containerPort:i 4 protocol:s 5 hostIP:s
EnvVar 1 name:s 2 value:s
ResourceRequirements 1 limits:Q{} 2 requests:Q{}
Job 1 metadata:ObjectMeta 2 spec:JobSpec 3 status:JobStatus
JobSpec 1 parallelism:i 2 completions:i 3 activeDeadlineSeconds:i 4 selector:LabelSelector 5 manualSelector:B
 6 template:PodTemplateSpec 7 backoffLimit:i 8 ttlSecondsAfterFinished:i 9 completionMode:s 10 suspend:B
JobStatus 4 active:i 5 succeeded:i 6 failed:i 7 completedIndexes:s
CronJob 1 metadata:ObjectMeta 2 spec:CronJobSpec 3 status:CronJobStatus
CronJobSpec 1 schedule:s 2 startingDeadlineSeconds:i 3 concurrencyPolicy:s 4 suspend:B 5 jobTemplate:JobTemplateSpec
 6 successfulJobsHistoryLimit:i 7 failedJobsHistoryLimit:i 8 timeZone:s
JobTemplateSpec 1 metadata:ObjectMeta 2 spec:JobSpec
CronJobStatus 1 active:ObjectReference[] 4 lastScheduleTime:T 5 lastSuccessfulTime:T
HorizontalPodAutoscaler 1 metadata:ObjectMeta 2 spec:HorizontalPodAutoscalerSpec 3 status:HorizontalPodAutoscalerStatus
HorizontalPodAutoscalerSpec 1 scaleTargetRef:CrossVersionObjectReference 2 minReplicas:i 3 maxReplicas:i
 4 metrics:MetricSpec[] 5 behavior:HorizontalPodAutoscalerBehavior
HorizontalPodAutoscalerStatus 1 observedGeneration:i 2 lastScaleTime:T 3 currentReplicas:i 4 desiredReplicas:i
HorizontalPodAutoscaler/v1 1 metadata:ObjectMeta 2 spec:HorizontalPodAutoscalerSpec/v1
 3 status:HorizontalPodAutoscalerStatus
HorizontalPodAutoscalerSpec/v1 1 scaleTargetRef:CrossVersionObjectReference 2 minReplicas:i 3 maxReplicas:i
 4 targetCPUUtilizationPercentage:i
CrossVersionObjectReference 1 kind:s 2 name:s 3 apiVersion:s
MetricSpec 1 type:s 2 object:ObjectMetricSource 3 pods:NamedMetricSource 4 resource:ResourceMetricSource
 5 external:NamedMetricSource 7 containerResource:ContainerResourceMetricSource
ObjectMetricSource 1 describedObject:CrossVersionObjectReference 2 target:MetricTarget 3 metric:MetricIdentifier
NamedMetricSource 1 metric:MetricIdentifier 2 target:MetricTarget
ResourceMetricSource 1 name:s 2 target:MetricTarget
ContainerResourceMetricSource 1 name:s 2 target:MetricTarget 3 container:s
MetricIdentifier 1 name:s 2 selector:LabelSelector
MetricTarget 1 type:s 2 value:Q 3 averageValue:Q 4 averageUtilization:i
HorizontalPodAutoscalerBehavior 1 scaleUp:HPAScalingRules 2 scaleDown:HPAScalingRules
HPAScalingRules 1 selectPolicy:s 2 policies:HPAScalingPolicy[] 3 stabilizationWindowSeconds:i 4 tolerance:Q
HPAScalingPolicy 1 type:s 2 value:i 3 periodSeconds:i
Ingress 1 metadata:ObjectMeta 2 spec:IngressSpec 3 status:ServiceStatus
IngressSpec 1 defaultBackend:IngressBackend 2 tls:IngressTLS[] 3 rules:IngressRule[] 4 ingressClassName:s
IngressBackend 4 service:IngressServiceBackend
IngressServiceBackend 1 name:s 2 port:ServiceBackendPort
ServiceBackendPort 1 name:s 2 number:i
IngressTLS 1 hosts:s[] 2 secretName:s
IngressRule 1 host:s 2 _:IngressRuleValue
IngressRuleValue 1 http:HTTPIngressRuleValue
HTTPIngressRuleValue 1 paths:HTTPIngressPath[]
HTTPIngressPath 1 path:s 2 backend:IngressBackend 3 pathType:s
Role 1 metadata:ObjectMeta 2 rules:PolicyRule[]
ClusterRole 1 metadata:ObjectMeta 2 rules:PolicyRule[]
PolicyRule 1 verbs:s[] 2 apiGroups:s[] 3 resources:s[] 4 resourceNames:s[] 5 nonResourceURLs:s[]
RoleBinding 1 metadata:ObjectMeta 2 subjects:Subject[] 3 roleRef:RoleRef
ClusterRoleBinding 1 metadata:ObjectMeta 2 subjects:Subject[] 3 roleRef:RoleRef
Subject 1 kind:s 2 apiGroup:s 3 name:s 4 namespace:s
RoleRef 1 apiGroup:s 2 kind:s 3 name:s
PodDisruptionBudget 1 metadata:ObjectMeta 2 spec:PodDisruptionBudgetSpec 3 status:PodDisruptionBudgetStatus
PodDisruptionBudgetSpec 1 minAvailable:I 2 selector:LabelSelector 3 maxUnavailable:I
PodDisruptionBudgetStatus 1 observedGeneration:i 3 disruptionsAllowed:i 4 currentHealthy:i 5 desiredHealthy:i
 6 expectedPods:i
SelfSubjectReview 1 metadata:ObjectMeta 2 status:SelfSubjectReviewStatus
SelfSubjectReviewStatus 1 userInfo:UserInfo
UserInfo 1 username:s 2 uid:s 3 groups:s[]
SelfSubjectAccessReview 1 metadata:ObjectMeta 2 spec:AccessSpec 3 status:AccessStatus
SubjectAccessReview 1 metadata:ObjectMeta 2 spec:AccessSpec 3 status:AccessStatus
AccessSpec 1 resourceAttributes:ResourceAttributes 2 nonResourceAttributes:NonResourceAttributes 3 user:s 4 groups:s[]
ResourceAttributes 1 namespace:s 2 verb:s 3 group:s 4 version:s 5 resource:s 6 subresource:s 7 name:s
NonResourceAttributes 1 path:s 2 verb:s
AccessStatus 1 allowed:B 2 reason:s 3 evaluationError:s 4 denied:B
SelfSubjectRulesReview 1 metadata:ObjectMeta 2 spec:RulesSpec 3 status:RulesStatus
RulesSpec 1 namespace:s
RulesStatus 3 incomplete:B 4 evaluationError:s
TokenRequest 1 metadata:ObjectMeta 2 spec:TokenRequestSpec 3 status:TokenRequestStatus
TokenRequestSpec 1 audiences:s[] 3 boundObjectRef:BoundObjectReference 4 expirationSeconds:i
BoundObjectReference 1 kind:s 2 apiVersion:s 3 name:s 4 uid:s
TokenRequestStatus 1 token:s 2 expirationTimestamp:T
Eviction 1 metadata:ObjectMeta 2 deleteOptions:DeleteOptions
DeleteOptions 1 gracePeriodSeconds:i 2 preconditions:Preconditions 3 orphanDependents:B 4 propagationPolicy:s
 5 dryRun:s[]
Preconditions 1 uid:s 2 resourceVersion:s
"""
# Kinds whose messages differ between two versions of their API.
_VERSIONED: Final = {("autoscaling/v1", "HorizontalPodAutoscaler"): "HorizontalPodAutoscaler/v1"}
# Go leaves these out when they are unset, so that a zero of theirs is meant.
_OPTIONAL: Final = frozenset(
    {
        "replicas",
        "minReplicas",
        "stabilizationWindowSeconds",
        "startingDeadlineSeconds",
        "successfulJobsHistoryLimit",
        "failedJobsHistoryLimit",
        "parallelism",
        "completions",
        "backoffLimit",
        "terminationGracePeriodSeconds",
        "gracePeriodSeconds",
        "activeDeadlineSeconds",
        "ttlSecondsAfterFinished",
        "revisionHistoryLimit",
        "progressDeadlineSeconds",
        "expirationSeconds",
        "automountServiceAccountToken",
        "immutable",
        "suspend",
        "manualSelector",
        "controller",
        "blockOwnerDeletion",
        "orphanDependents",
        "allocateLoadBalancerNodePorts",
    }
)


class ProtobufError(Exception):
    """The body cannot be read; the message says what to send instead."""


_HINT: Final = "send application/json, or use kubectl apply"
Messages = dict[str, dict[int, tuple[str, str]]]


def _messages() -> Messages:
    made: Messages = {}
    for line in _TEXT.strip().replace("\n ", " ").splitlines():
        name, *parts = line.split()
        pairs = zip(parts[::2], parts[1::2], strict=True)
        made[name] = {int(n): (p.partition(":")[0], p.partition(":")[2]) for n, p in pairs}
    return made


_MESSAGES: Final = _messages()


def parse_protobuf(body: bytes) -> dict[str, Any]:
    """A body as a JSON object with apiVersion and kind.

    Raises:
        ProtobufError: It is none, or of a kind or with a field that is not known.
    """
    if not body.startswith(MAGIC):
        raise ProtobufError(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
        )
    envelope = dict(_raw(body[4:]))
    head = dict(_raw(_bytes(envelope.get(1, b""))))
    version, kind = (_bytes(head.get(n, b"")).decode("utf-8", "replace") for n in (1, 2))
    if kind not in _MESSAGES:
        raise ProtobufError(f"this server reads no protobuf of kind {kind!r}: {_HINT}")
    value = _message(_VERSIONED.get((version, kind), kind), _bytes(envelope.get(2, b"")), 0)
    return {"apiVersion": version, "kind": kind, **value}


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ProtobufError("proto: a number where a message belongs")
    return value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ProtobufError("proto: the message ends too early")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value - (1 << 64) if value >> 63 else value), position
        shift += 7


def _raw(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        wire = key & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield key >> 3, value
        elif wire == 2:
            length, position = _varint(data, position)
            if length < 0 or position + length > len(data):
                raise ProtobufError("proto: the message ends too early")
            yield key >> 3, data[position : position + length]
            position += length
        else:
            raise ProtobufError(f"proto: wire type {wire} is in no manifest")


def _message(name: str, data: bytes, depth: int) -> dict[str, Any]:
    if depth > _DEPTH:
        raise ProtobufError("proto: nested too deeply")
    out: dict[str, Any] = {}
    fields = _MESSAGES[name]
    for number, value in _raw(data):
        if number not in fields:
            raise ProtobufError(f"proto: field {number} of {name} is not known here: {_HINT}")
        key, kind = fields[number]
        if kind.endswith("{}"):
            entry = dict(_raw(_bytes(value)))
            text = _bytes(entry.get(1, b"")).decode("utf-8", "replace")
            out.setdefault(key, {})[text] = _value(kind[:-2], entry.get(2, b""), depth)
        elif kind.endswith("[]"):
            out.setdefault(key, []).append(_value(kind[:-2], value, depth))
        elif key == "_":
            out |= _message(kind, _bytes(value), depth + 1)
        else:
            plain = _value(kind, value, depth)
            if plain not in ("", 0, None, False) or (key in _OPTIONAL and plain is not None):
                out[key] = plain
    if out.get("status") == {}:
        del out["status"]
    return out


def _value(kind: str, value: int | bytes, depth: int) -> Any:
    match kind:
        case "i":
            return value if isinstance(value, int) else 0
        case "B":
            return bool(value)
        case "s":
            return _bytes(value).decode("utf-8", "replace")
        case "b":
            return base64.b64encode(_bytes(value)).decode()
        case "T" | "Q" | "I":
            return _special(kind, dict(_raw(_bytes(value))))
        case _:
            return _message(kind, _bytes(value), depth + 1)


def _special(kind: str, fields: dict[int, int | bytes]) -> Any:
    first = fields.get(1)
    if kind == "Q":
        return _bytes(first or b"").decode("utf-8", "replace") or "0"
    if kind == "T":
        if not isinstance(first, int) or not 0 < first < 1 << 40:
            return None
        return dt.datetime.fromtimestamp(first, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if first:
        return _bytes(fields.get(3, b"")).decode("utf-8", "replace")
    number = fields.get(2, 0)
    return number if isinstance(number, int) else 0
