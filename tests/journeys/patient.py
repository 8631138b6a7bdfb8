"""How clients of these tests ask: as the service tells clients to."""

import time

import httpx2

MOST_REFUSALS = 30


class Patient(httpx2.HTTPTransport):
    """Asks again, as it is told to, for what an overloaded server refused unread: other tests keep machines busy."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Whatever else is answered."""
        for _ in range(MOST_REFUSALS):
            response = super().handle_request(request)
            if response.status_code != httpx2.codes.SERVICE_UNAVAILABLE:
                return response
            response.read()
            if response.json()["code"] != "overloaded":
                return response
            response.close()
            time.sleep(float(response.headers["Retry-After"]))
        return super().handle_request(request)
