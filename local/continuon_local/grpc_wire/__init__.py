"""A gRPC server in the event loop's own protocol: HTTP/2 frames in, handlers called, frames out.

grpc.aio serves from a thread of its own and hops to the loop and back for every call; here a call
whose answer is at hand is answered before the loop turns. It needs no more memory than its tables.
"""
