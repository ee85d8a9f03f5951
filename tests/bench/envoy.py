"""Envoy's configuration: plain, with a cached JWT check, and with an external authorizer."""
import json

V3 = "type.googleapis.com/envoy.extensions"


def _typed(name, kind, **members):
    return {"name": name, "typed_config": {"@type": f"{V3}.{kind}", **members}}


def _tls(kind, context, **members):
    return _typed("envoy.transport_sockets.tls", f"transport_sockets.tls.v3.{kind}",
                  common_tls_context=context, **members)


def _params():
    return {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"}


def _jwt(issuer, audience, jwks):
    provider = {
        "issuer": issuer, "audiences": [audience], "local_jwks": {"filename": jwks},
        "forward": True, "jwt_cache_config": {"jwt_cache_size": 10_000},
    }
    rule = {"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}
    return _typed("envoy.filters.http.jwt_authn", "filters.http.jwt_authn.v3.JwtAuthentication",
                  providers={"p": provider}, rules=[rule])


def _ext_authz(port):
    return _typed(
        "envoy.filters.http.ext_authz", "filters.http.ext_authz.v3.ExtAuthz",
        transport_api_version="V3", failure_mode_allow=False,
        http_service={"server_uri": {"uri": f"http://127.0.0.1:{port}", "cluster": "authz",
                                     "timeout": "1s"}})


def _endpoints(host, port):
    address = {"socket_address": {"address": host, "port_value": port}}
    return [{"lb_endpoints": [{"endpoint": {"address": address}}]}]


def _cluster(name, port, **members):
    return {"name": name, "type": "STATIC", "connect_timeout": "5s", **members,
            "load_assignment": {"cluster_name": name, "endpoints": _endpoints("127.0.0.1", port)}}


def configuration(place, jwt=None, authz=None):
    """`place` names ports and certificates; `jwt` is (issuer, audience, JWKS file) and
    `authz` the port of the authorizer."""
    filters = [_jwt(*jwt)] if jwt else []
    filters += [_ext_authz(authz)] if authz else []
    filters.append(_typed("envoy.filters.http.router", "filters.http.router.v3.Router"))
    route = {"match": {"prefix": "/"}, "route": {"cluster": "upstream",
                                                 "host_rewrite_literal": "localhost"}}
    manager = _typed(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="bench", http_filters=filters,
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]})
    downstream = _tls("DownstreamTlsContext", {
        "tls_params": _params(), "alpn_protocols": ["http/1.1"],
        "tls_certificates": [{"certificate_chain": {"filename": place.cert},
                              "private_key": {"filename": place.key}}]})
    upstream = _tls("UpstreamTlsContext", {
        "tls_params": _params(),
        "validation_context": {
            "trusted_ca": {"filename": place.ca},
            "match_typed_subject_alt_names": [
                {"san_type": "DNS", "matcher": {"exact": "localhost"}}]}}, sni="localhost")
    clusters = [_cluster("upstream", place.upstream, transport_socket=upstream)]
    clusters += [_cluster("authz", authz)] if authz else []
    listener = {
        "name": "bench",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": place.port}},
        "filter_chains": [{"transport_socket": downstream, "filters": [manager]}]}
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": clusters}})
