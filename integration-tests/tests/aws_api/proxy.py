"""A proxy that passes requests on and loses answers: the server has done what was asked for, and the client does not know."""

import http.client
import http.server
import threading
import urllib.parse


class LosingProxy:
    """Loses the answer of the first try of every call that changes something; calls are told apart by their invocation."""

    def __init__(self, url):
        behind = urllib.parse.urlsplit(url).netloc
        proxy = self
        self.lost, self.passed, self.between = {}, {}, None
        self.lock = threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            """One connection; the signature covers the host that the client spoke to, so the request goes on unchanged."""

            protocol_version = "HTTP/1.1"

            def handle_one(self):
                """Asks the server, then answers or hangs up."""
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                server = http.client.HTTPConnection(behind, timeout=60)
                server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    server.putheader(name, value)
                server.endheaders(body)
                answer = server.getresponse()
                content = answer.read()
                server.close()
                call = self.headers.get("amz-sdk-invocation-id", "")
                with proxy.lock:
                    first = call not in proxy.lost
                    if first and self.command != "GET":
                        proxy.lost[call] = (answer.status, content)
                    else:
                        proxy.passed[call] = (answer.status, content)
                if first and self.command != "GET":
                    if proxy.between:
                        proxy.between()
                    self.close_connection = True
                    self.connection.close()
                    return
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() != "content-length":
                        self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_DELETE = handle_one

            def log_message(self, *_):
                """Says nothing."""

        class Server(http.server.ThreadingHTTPServer):
            """Hung-up connections are what it is for."""

            daemon_threads = True

            def handle_error(self, *_):
                """Says nothing."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
